"""Gates, from their rules to a verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.api.arming import armed, defended
from advbench.api.defaults import texts_of, threats_of
from advbench.api.job import Job
from advbench.api.keywords import Eps, never, quietly
from advbench.api.settings import Settings, seconds, show_options
from advbench.core.errors import unknown
from advbench.core.renamed import accepts_former_names

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.api.keywords import GateOptions
    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.spec import ThreatSpec
    from advbench.gating.rules import GateRules
    from advbench.gating.run import GateResult, GateRun
    from advbench.gating.source import RulesSource
    from advbench.gating.subject import Subject
    from advbench.gating.verdict import Gate


@accepts_former_names
def gate(
    model: Any = None,
    data: Any = None,
    *,
    norm: str | None = None,
    eps: Eps | None = None,
    min_robust: str | float | None = None,
    min_clean: str | float | None = None,
    min_class: Mapping[str, str | float] | None = None,
    min_worst_class: str | float | None = None,
    max_drop: str | float | None = None,
    error_rate: float | None = None,
    allow_flags: Sequence[str] | None = None,
    baseline: str | Path | None = None,
    baseline_images: int | None = None,
    update_baseline: bool = False,
    **options: Unpack[GateOptions],
) -> Gate:
    """Decide whether a model meets rules about its accuracy, as `advbench gate` does, without ending the process.

    Images are drawn at random until every rule is certain, with bounds that hold at every stopping time.

    Parameters
    ----------
    model : Any
        As for `advbench.evaluate`; or a file of rules, `advbench.toml`, to which the other arguments are added. Without
        any rule among the arguments, the file of the working directory is read.
    data : Any
        As for `advbench.evaluate`.
    norm, eps
        The threat model of the rules below.
    min_robust, min_clean, min_worst_class : str or float
        Smallest robust accuracy, clean accuracy, and robust accuracy of every class: `"40%"` or 0.4.
    min_class : mapping
        Smallest robust accuracy of single classes, by name.
    max_drop : str or float
        Largest loss of robust accuracy compared with `baseline`.
    error_rate : float, default 0.05
        Largest probability that the verdict is wrong, over all rules.
    allow_flags : sequence of str
        Flags that do not make the gate invalid.
    baseline : path
        File with the outcomes of an earlier model.
    baseline_images : int, optional
        Number of images in a new baseline.
    update_baseline : bool
        Write `baseline` instead of comparing with it.
    **options
        As for `advbench.evaluate`, except for these: `n` is by default all images; `batch_size`, the number of images
        between two decisions, is 64; each threat model has a run directory of its own in `out`; a gate always examines
        the model first.

    Returns
    -------
    Gate
        Its `verdict` is "pass", "fail", "inconclusive" or "invalid"; its `outcomes` say why, rule by rule.

    Raises
    ------
    UsageError
        For rules that make no sense, in one line.
    AdvbenchError
        For anything else that prevents a verdict.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> def model(x):
    ...     return x.mean((1, 2))
    >>> images = np.random.default_rng(0).integers(0, 256, (64, 5, 6, 3), dtype=np.uint8)
    >>> labels = images.mean((1, 2)).argmax(1)
    >>> rules = {"norm": "linf", "eps": 0.001, "attacks": "fgsm", "min_robust": "80%", "preflight": "none"}
    >>> advbench.gate(model, (images, labels), **rules).verdict
    'pass'
    """
    from advbench.api.gate_rules import keys, written
    from advbench.core.files import write

    named = isinstance(model, str | Path)
    own = {"data": data, "error_rate": error_rate, "allow_flags": allow_flags}
    own |= {"baseline": baseline, "baseline_images": baseline_images}
    settings, objects = keys({**options, **own})
    threat: dict[str, Any] = {"norm": norm, "eps": Settings(eps=eps).eps_text, "min-robust": min_robust}
    threat |= {"min-class": min_class and dict(min_class), "min-worst-class": min_worst_class}
    overall = {"min-clean": min_clean, "max-drop": max_drop}
    target = str(model) if named else None if model is None else "the model given"
    rules, source = written(
        target, settings, overall, threat, update=update_baseline, notify=options.get("notify", quietly)
    )
    found, new = decided(rules, source, model=None if named else model, update=update_baseline, **objects)
    if new is not None and rules.baseline:
        write(Path(rules.baseline), new.to_json().encode())
    return found


show_options(gate, without=("norm", "eps", "cascade", "force", "doublings", "progress"), batch_size=64)


def decided(
    rules: GateRules,
    source: RulesSource,
    *,
    model: Any = None,
    data: Any = None,
    update: bool = False,
    **given: Unpack[GateOptions],
) -> GateResult:
    """Load a gate and run it.

    Parameters
    ----------
    rules, source, model, data, update, **given
        As for `loaded`.

    Returns
    -------
    GateResult
        The gate, its results, and a new baseline if one was asked for.
    """
    gate = loaded(rules, source, model=model, data=data, update=update, **given)
    return gate(given.get("should_stop", never))


def loaded(
    rules: GateRules,
    source: RulesSource,
    *,
    model: Any = None,
    data: Any = None,
    update: bool = False,
    **given: Unpack[GateOptions],
) -> Loaded:
    """Make a gate ready to run.

    Parameters
    ----------
    rules : GateRules
        The rules.
    source : RulesSource
        File and lines that they come from.
    model, data : Any
        As for `advbench.evaluate`; by default those that the rules name.
    update : bool
        Make a new baseline instead of comparing with the old one.
    **given
        Settings that rules can't hold, such as attacks that are objects; `out` holds a run directory for each threat
        model.

    Returns
    -------
    Loaded
        Ready to run.

    Raises
    ------
    AdvbenchError
        For anything that prevents a verdict.
    """
    from advbench.gating.baseline import Baseline
    from advbench.gating.run import GateRun
    from advbench.gating.subject import asked_of

    began = time.monotonic()
    limit = seconds(rules.time_limit)
    settings = _settings(rules, given)
    _allowed(rules, source)
    then = Baseline.load(Path(rules.baseline)) if rules.baseline and not update else None
    what = _subject(rules, settings, rules.model if model is None else model, rules.data if data is None else data)
    asked = asked_of(rules, what, source, update=update)
    run = GateRun(what, rules, source, asked, then, update)
    run.out = Path(settings.out) if settings.out else None
    run.command, run.resume = settings.command, settings.resume
    run.deadline = None if limit is None else began + limit
    return Loaded(run, settings, began)


@dataclass(frozen=True)
class Loaded:
    """A gate with its model and data loaded.

    Attributes
    ----------
    run : GateRun
        The gate to run.
    settings : Settings
        Settings of its evaluations.
    began : float
        Start of the gate, by `time.monotonic`, in seconds.
    """

    run: GateRun
    settings: Settings
    began: float  # of `time.monotonic`

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.run.subject.model.name

    def __call__(
        self, should_stop: Callable[[], int | None] = never, tell: Callable[[str], None] = quietly
    ) -> GateResult:
        """Decide the gate.

        Parameters
        ----------
        should_stop : callable
            Called before every batch; if it returns the number of a signal, the gate stops.
        tell : callable
            Called with a line after every block of images.

        Returns
        -------
        GateResult
            The gate, its results, and a new baseline if one was asked for.
        """
        run = self.run
        run.should_stop, run.tell = should_stop, tell
        run.doctor, run.masking = _preflight(run.subject, run.rules, self.settings)
        found = run()
        return found._replace(gate=found.gate.model_copy(update={"seconds": time.monotonic() - self.began}))


def _settings(rules: GateRules, given: GateOptions) -> Settings:
    """Return the settings that rules and evaluations share, but for the time limit, which is that of the whole gate."""
    shared = Settings.names() & type(rules).model_fields.keys() - {"time_limit"}
    told: dict[str, Any] = {**{name: getattr(rules, name) for name in shared}, **given}
    return Settings(**told | {"weights": rules.weights and Path(rules.weights)})


def _subject(rules: GateRules, settings: Settings, model: Any, data: Any) -> Subject:
    """Load the model and its data, and read threat models and attacks."""
    from advbench.gating.subject import Subject, drawn

    loaded, images, chosen = defended(model, data, settings, most=sys.maxsize)
    threats = [threat for t in rules.threats for threat in threats_of(loaded, images.name, t.norm, t.eps)]
    named = [own.attacks or texts_of(settings.attacks) for own in rules.threats]
    loaded, attacks = armed(loaded, images, chosen, threats, named)
    return Subject(loaded, images, drawn(chosen, rules.seed), threats, attacks)


def _allowed(rules: GateRules, source: RulesSource) -> None:
    """Refuse to allow flags that do not exist: a typing error would allow nothing."""
    from advbench.preflight import CHECKS, TRANSLATED
    from advbench.preflight.expected import EXPECTED
    from advbench.preflight.masking import ASKED

    known = {*CHECKS, *TRANSLATED, *EXPECTED, *ASKED, "under_converged", "undone_successes", "proposal_out_of_bounds"}
    if wrong := next((name for name in rules.allow_flags if name not in known), None):
        raise source.problem(("allow-flags",), str(unknown("flag", wrong[:40], known)))


def _preflight(what: Subject, rules: GateRules, settings: Settings) -> tuple[list[Flag], list[list[Flag]]]:
    """Return the flags of the model, and those of gradient masking by threat model: none after a fatal flag."""
    order = what.order.tolist()

    def job(threats: list[ThreatSpec], attacks: list[AttackSpec]) -> Job:
        return Job(what.model, what.data, order, threats, attacks, replace(settings, n=None, indices=None))

    doctor = job([], []).doctor()
    fatal = any(flag.level == "invalid" and flag.name not in rules.allow_flags for flag in doctor)
    threats = zip(what.threats, what.attacks, strict=True)
    return doctor, [[] if fatal else job([threat], attacks).masking() for threat, attacks in threats]
