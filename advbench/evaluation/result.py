"""What an evaluation found: one object; tables, JSON and exit codes are all renderings of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from advbench.core.errors import UsageError, first_fault
from advbench.core.execution import Execution
from advbench.core.flag import Flag, Record
from advbench.core.intervals import wilson
from advbench.core.spec import ThreatSpec

SCHEMA_VERSION: Final = 1

Count = Annotated[int, Field(ge=0)]
Fractional = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
State = Literal["complete", "invalid", "incomplete"]


class Rate(Record):
    """An accuracy (a fraction, not a percentage) with its 95 % interval."""

    accuracy: Fractional
    low: Fractional
    high: Fractional
    n: Count
    correct: Count
    interval: Literal["wilson-95"] = "wilson-95"

    @classmethod
    def of(cls, correct: int, n: int) -> Rate:
        """`correct` images of `n`; an accuracy of 0 within (0, 1) when there are none."""
        low, high = wilson(correct, n)
        return cls(accuracy=correct / n if n else 0.0, low=low, high=high, n=n, correct=correct)

    def __add__(self, other: Rate) -> Rate:
        """Of both sets of images together."""
        return Rate.of(self.correct + other.correct, self.n + other.n)


class ThreatInfo(Record):
    """What the adversary may do: `eps` as typed, as a float, and as an exact fraction, pixels in [0, 1]."""

    norm: str
    eps: str
    eps_value: Annotated[float, Field(ge=0)]
    eps_exact: str

    @classmethod
    def of(cls, spec: ThreatSpec) -> ThreatInfo:
        """The record of a threat as typed."""
        return cls(norm=spec.norm, eps=spec.eps.text, eps_value=float(spec.eps), eps_exact=str(spec.eps.value))

    @property
    def fraction(self) -> Fraction:
        """The exact eps."""
        return Fraction(self.eps_exact)

    @property
    def title(self) -> str:
        """`linf eps 8/255`."""
        return f"{self.norm} eps {self.eps}"

    def __str__(self) -> str:
        return f"{self.norm} {self.eps}"


class Queries(Record):
    """What was asked of a model behind a network, in images."""

    protocol: str
    answers: Literal["logits", "probabilities", "labels"] | None
    levels: int | None  # steps from black to white that its pixels have; None: they arrive as they are
    asked: Count
    remembered: Count  # answered from memory
    requests: Count
    retries: Count
    budget: Count | None


class ModelInfo(Record):
    """Which network: `source` is what was typed to load it, `digest` identifies its weights.

    `preprocess` is what is done to images first, as `advbench.core.preprocess.Preprocess` has it; empty for nothing.
    """

    name: str
    source: str
    digest: str
    dataset: str | None
    record: dict[str, Any] = Field(default_factory=dict)
    preprocess: dict[str, Any] = Field(default_factory=dict)
    queries: Queries | None = None  # of this command; a resumed run asked more before
    execution: Execution | None = None  # what attacks computed in its place, if it was brought along


class DataInfo(Record):
    """Which images: `indices` in words, each in its row; `digest` is the sha256 of just these images and labels."""

    name: str
    split: str
    source: str
    digest: str
    n: Count
    indices: str
    classes: tuple[str, ...] = Field(strict=False)
    reading: dict[str, Any] = Field(default_factory=dict)  # of one's own data: how files are read, if declared


class Convergence(Record):
    """Whether more of an attack would break more: what stood after how many passes, and after each of its runs.

    Of the images it was given, `standing[i]` stood when each had cost at most `passes[i]` forward passes. Attacks
    that do not stop at success tell only after how many runs.
    """

    passes: tuple[Count, ...] = Field(strict=False)  # powers of two, then all
    standing: tuple[Count, ...] = Field(strict=False)
    after_runs: tuple[Count, ...] = Field(strict=False)
    doublings: Count  # how often the steps were doubled since the last doubling still broke many
    restart_doublings: Count = 0  # likewise the restarts
    late_steps: Count | None = None  # images that fell only in the last doubling of the steps; None: can't be told
    late_restarts: Count | None = None  # likewise of the restarts


class AttackReport(Record):
    """One attack: what it was, what it left standing, what it cost."""

    spec: str  # as typed; names the attack in rows
    name: str
    settings: dict[str, bool | int | float | str]
    runs: Count  # restarts times targets
    alone: Rate | None  # accuracy under this attack only, where every clean-correct image met it
    after: Rate  # accuracy left after this and all attacks before it
    tried: Count  # images it was given
    broke: Count  # of these
    claimed: Count | None = None  # of these, which the attack itself counts as broken; None in older results
    undone: Count | None = None  # of the claimed, which the judge does not
    out_of_bounds: Count  # proposals that left the ball or the box, or were not finite
    seconds: Seconds  # compilation included
    compile_seconds: Seconds | None
    forwards: Count  # over all images
    gradients: Count
    convergence: Convergence | None = None


class Skipped(Record):
    """What the time or the queries did not suffice for, the target failed in, or the attack found no start for."""

    spec: str
    runs: Count  # of the attack that were not finished; with reason "start" all, none of which found one
    images: Count  # that were to meet it then
    reason: Literal["time", "queries", "target", "start"] = "time"


class Row(Record):
    """One image. `margin` is the best wrong logit minus the right one, positive when misclassified."""

    index: Count  # in the data set's split
    label: Count
    clean_prediction: int | None  # None: the logits were not finite
    robust: bool
    broken_by: str | None  # "clean", or the spec of the first attack that broke it
    also_broken_by: tuple[str, ...] = Field(strict=False)  # in mode "each", the later attacks that broke it too
    prediction: int | None  # on the adversarial image, or on the clean one where there is none
    distance: float | None  # of the adversarial image, in the threat's norm; 0 if broken when clean
    margin: float | None  # on that image; where robust, the highest any allowed proposal reached
    forwards: Count
    gradients: Count
    finite: bool  # every output met was


class Provenance(Record):
    """Where, when and with what it was computed."""

    versions: dict[str, str]
    device: str
    platform: str
    x64: bool
    matmul_precision: str
    command: str
    started: str  # UTC, ISO 8601
    seconds: Seconds
    commit: str | None = None  # checked out where the command ran, in hex


class Result(Record):
    """One evaluation of one model under one threat."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model: ModelInfo
    data: DataInfo
    threat: ThreatInfo
    mode: Literal["cascade", "each"]
    clean: Rate
    robust: Rate  # worst case over all attacks, image by image
    attacks: tuple[AttackReport, ...] = Field(strict=False)
    flags: tuple[Flag, ...] = Field(strict=False)
    seed: int
    batch_size: Annotated[int, Field(ge=1)]
    complete: bool  # nothing that was asked for was skipped
    skipped: tuple[Skipped, ...] = Field(default=(), strict=False)
    adversarial_digest: str  # sha256 over the indices (int32) and pixels (float32) of all stored adversarial images
    provenance: Provenance
    rows: tuple[Row, ...] = Field(strict=False)

    @property
    def exit_code(self) -> int:
        """0 when the numbers stand, 3 when they can't be trusted, 4 when the target failed, 5 when there are none."""
        if any(flag.level == "invalid" for flag in self.flags):
            return 3
        if any(skipped.reason == "target" for skipped in self.skipped):
            return 4
        return 0 if self.complete and self.rows else 5

    @property
    def cut_short(self) -> bool:
        """Whether a target ended before the attacks did: the run can then be gone on with."""
        return any(skipped.reason in ("queries", "target") for skipped in self.skipped)

    @property
    def state(self) -> State:
        """The same in a word; a target that failed left something out, as a budget that is spent does."""
        states: dict[int, State] = {0: "complete", 3: "invalid", 4: "incomplete", 5: "incomplete"}
        return states[self.exit_code]

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "result") -> Result:
        """Read what `to_json` wrote.

        Raises
        ------
        UsageError
            In one line, when `text` is not JSON, of another schema version, or has missing, wrong or unknown fields.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(
                f"{source} is not a result of schema version {SCHEMA_VERSION}: {first_fault(error)}"
            ) from None

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a result file, or the one in a run directory.

        Raises
        ------
        UsageError
            When there is none, it can't be read, or it is not a result.
        """
        path = path / "result.json" if path.is_dir() else path
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(f"no result to read at {path}: {error.strerror}") from None
        return cls.from_json(text, str(path))
