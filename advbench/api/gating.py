"""A gate from its rules to its verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.api.job import Job, armed, defended
from advbench.api.settings import Eps, Settings, never, quietly, seconds, show_options
from advbench.api.subject import texts_of, threats_of
from advbench.core.errors import unknown
from advbench.core.renamed import accepts_former_names

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.api.settings import GateOptions
    from advbench.attacks.spec import AttackSpec
    from advbench.core.flag import Flag
    from advbench.core.spec import ThreatSpec
    from advbench.gating.rules import GateRules
    from advbench.gating.run import Found, Run
    from advbench.gating.source import Source
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
    """Decide whether a model is as robust as it must be: what `advbench gate` does, without ending the process.

    Images are drawn at random until every rule is certain, on bounds that hold at every look.

    Parameters
    ----------
    model : Any
        As for `advbench.evaluate`; or a file of rules, `advbench.toml`, to which what is given here is added. Without
        any rule here, the one of the working directory is read.
    data : Any
        As for `advbench.evaluate`.
    norm, eps
        The threat model of the rules below.
    min_robust, min_clean, min_worst_class : str or float
        Robust accuracy, clean accuracy, and robust accuracy of every class, at least: `"40%"` or 0.4.
    min_class : mapping
        Robust accuracy of single classes, by name, at least.
    max_drop : str or float
        Robust accuracy lost against `baseline`, at most.
    error_rate : float, default 0.05
        Probability, at most, that the verdict is wrong, over all rules.
    allow_flags : sequence of str
        Findings that do not make the gate invalid.
    baseline : path
        What an earlier model withstood; with `update_baseline` it is written, on `baseline_images` images.
    **options
        As for `advbench.evaluate`, but for these: `n` is by default all images, and `batch_size`, the images between
        two looks, 64; each threat has a run directory of its own in `out`; a gate always looks at the model first.

    Returns
    -------
    Gate
        Its `verdict` is "pass", "fail", "inconclusive" or "invalid"; its `outcomes` say why, rule by rule.

    Raises
    ------
    UsageError
        For rules that can't be meant, in one line.
    AdvbenchError
        For whatever else keeps it from a verdict.

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
    source: Source,
    *,
    model: Any = None,
    data: Any = None,
    update: bool = False,
    **given: Unpack[GateOptions],
) -> Found:
    """Decide a gate: load it, and run it; the parameters are those of `loaded`."""
    gate = loaded(rules, source, model=model, data=data, update=update, **given)
    return gate(given.get("should_stop", never))


def loaded(
    rules: GateRules,
    source: Source,
    *,
    model: Any = None,
    data: Any = None,
    update: bool = False,
    **given: Unpack[GateOptions],
) -> Loaded:
    """Make a gate ready to run.

    Parameters
    ----------
    rules, source : what is asked for, and where it is written.
    model, data : as for `advbench.evaluate`; by default those that the rules name.
    update : whether a new baseline is to be made instead of comparing with the old one.
    **given : what the rules can't hold, like attacks that are objects, and what surrounds this run; `out` holds a run
        directory for each threat.

    Raises
    ------
    AdvbenchError
        For whatever keeps it from a verdict.
    """
    from advbench.gating.baseline import Baseline
    from advbench.gating.run import Run
    from advbench.gating.subject import asked_of

    began = time.monotonic()
    limit = seconds(rules.time_limit)
    settings = _settings(rules, given)
    _allowed(rules, source)
    then = Baseline.load(Path(rules.baseline)) if rules.baseline and not update else None
    what = _subject(rules, settings, rules.model if model is None else model, rules.data if data is None else data)
    asked = asked_of(rules, what, source, update=update)
    run = Run(what, rules, source, asked, then, update)
    run.out = Path(settings.out) if settings.out else None
    run.command, run.resume = settings.command, settings.resume
    run.deadline = None if limit is None else began + limit
    return Loaded(run, settings, began)


@dataclass(frozen=True)
class Loaded:
    """A gate whose model and data are here."""

    run: Run
    settings: Settings
    began: float  # of `time.monotonic`

    @property
    def name(self) -> str:
        """Of the model."""
        return self.run.subject.model.name

    def __call__(self, should_stop: Callable[[], int | None] = never, tell: Callable[[str], None] = quietly) -> Found:
        """Decide; `should_stop` is asked before every batch for a signal's number, `tell` told after every block."""
        run = self.run
        run.should_stop, run.tell = should_stop, tell
        run.doctor, run.masking = _preflight(run.subject, run.rules, self.settings)
        found = run()
        return found._replace(gate=found.gate.model_copy(update={"seconds": time.monotonic() - self.began}))


def _settings(rules: GateRules, given: GateOptions) -> Settings:
    """What rules and evaluations may be told alike; the time is the whole gate's."""
    shared = Settings.names() & type(rules).model_fields.keys() - {"time_limit"}
    told: dict[str, Any] = {**{name: getattr(rules, name) for name in shared}, **given}
    return Settings(**told | {"weights": rules.weights and Path(rules.weights)})


def _subject(rules: GateRules, settings: Settings, model: Any, data: Any) -> Subject:
    """Load the model and its data, and read threats and attacks."""
    from advbench.gating.subject import Subject, drawn

    loaded, images, chosen = defended(model, data, settings, most=sys.maxsize)
    threats = [threat for t in rules.threats for threat in threats_of(loaded, images.name, t.norm, t.eps)]
    named = [own.attacks or texts_of(settings.attacks) for own in rules.threats]
    loaded, attacks = armed(loaded, images, chosen, threats, named)
    return Subject(loaded, images, drawn(chosen, rules.seed), threats, attacks)


def _allowed(rules: GateRules, source: Source) -> None:
    """Refuse to allow findings that there are not: a slip there would switch nothing off."""
    from advbench.preflight import CHECKS, TRANSLATED
    from advbench.preflight.expected import EXPECTED
    from advbench.preflight.masking import ASKED

    known = {*CHECKS, *TRANSLATED, *EXPECTED, *ASKED, "under_converged", "undone_successes", "proposal_out_of_bounds"}
    if wrong := next((name for name in rules.allow_flags if name not in known), None):
        raise source.problem(("allow-flags",), str(unknown("flag", wrong[:40], known)))


def _preflight(what: Subject, rules: GateRules, settings: Settings) -> tuple[list[Flag], list[list[Flag]]]:
    """What the doctor finds, and what hides gradients under each threat; nothing more once no number can stand."""
    order = what.order.tolist()

    def job(threats: list[ThreatSpec], attacks: list[AttackSpec]) -> Job:
        return Job(what.model, what.data, order, threats, attacks, replace(settings, n=None, indices=None))

    doctor = job([], []).doctor()
    fatal = any(flag.level == "invalid" and flag.name not in rules.allow_flags for flag in doctor)
    threats = zip(what.threats, what.attacks, strict=True)
    return doctor, [[] if fatal else job([threat], attacks).masking() for threat, attacks in threats]
