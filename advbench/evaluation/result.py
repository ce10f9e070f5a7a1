"""The result of an evaluation: one object, of which tables, JSON and exit codes are renderings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from advbench.core.errors import UsageError, first_fault
from advbench.core.flag import Flag, Record
from advbench.evaluation.facts import (
    Count,
    DataInfo,
    Fractional,
    ModelInfo,
    Provenance,
    Queries,
    Rate,
    Seconds,
    ThreatInfo,
)

__all__ = [
    "SCHEMA_VERSION",
    "AttackReport",
    "Convergence",
    "Count",
    "DataInfo",
    "Fractional",
    "ModelInfo",
    "Provenance",
    "Queries",
    "Rate",
    "Result",
    "Row",
    "Seconds",
    "Skipped",
    "State",
    "ThreatInfo",
]

SCHEMA_VERSION: Final = 1

State = Literal["complete", "invalid", "incomplete"]


class Convergence(Record):
    """Convergence of an attack: evidence on whether more steps or restarts would break more images.

    Attributes
    ----------
    passes, standing : tuple of int
        Of the images given to the attack, `standing[i]` were not broken after at most `passes[i]` forward passes each,
        for powers of two, then the largest number. If the attack does not stop at success, see `after_runs` instead.
    after_runs : tuple of int
        Images not broken after each trial.
    doublings, restart_doublings : int
        How often the steps, and the restarts, were doubled because the attack had not converged.
    late_steps, late_restarts : int or None
        Images that only the last doubling of the steps, or of the restarts, broke; None if unknown.
    """

    passes: tuple[Count, ...] = Field(strict=False)
    standing: tuple[Count, ...] = Field(strict=False)
    after_runs: tuple[Count, ...] = Field(strict=False)
    doublings: Count
    restart_doublings: Count = 0
    late_steps: Count | None = None
    late_restarts: Count | None = None


class AttackReport(Record):
    """One attack: its settings, outcome and cost.

    Attributes
    ----------
    spec : str
        The attack as typed; rows name it by this text.
    name, settings : str, dict
        Name of the attack, and all its settings.
    runs : int
        Number of trials: restarts times targets.
    alone : Rate or None
        Accuracy under this attack alone, if it tried every image that is correctly classified when clean.
    after : Rate
        Robust accuracy after this attack and all before it.
    tried, broke : int
        Images given to the attack, and how many of them it broke.
    claimed, undone : int or None
        Images of `tried` that the attack itself counts as broken, and how many of those the judge rejected; None in
        results of older versions.
    out_of_bounds : int
        Proposed images outside the ball or [0, 1], or not finite.
    seconds, compile_seconds : float
        Duration, compilation included, and the part of it spent compiling.
    forwards, gradients : int
        Forward passes and input gradients, summed over all images.
    convergence : Convergence or None
        How many images were not broken after how much work.
    """

    spec: str
    name: str
    settings: dict[str, bool | int | float | str]
    runs: Count
    alone: Rate | None
    after: Rate
    tried: Count
    broke: Count
    claimed: Count | None = None
    undone: Count | None = None
    out_of_bounds: Count
    seconds: Seconds
    compile_seconds: Seconds | None
    forwards: Count
    gradients: Count
    convergence: Convergence | None = None


class Skipped(Record):
    """Work of an attack that was asked for and not done.

    Attributes
    ----------
    spec : str
        The attack as typed.
    runs : int
        Trials that were not finished; for reason "start" all of them.
    images : int
        Images that were still to be attacked.
    reason : {"time", "queries", "target", "start"}
        Time limit, query limit, failure of the remote model, or no image to start from.
    """

    spec: str
    runs: Count
    images: Count
    reason: Literal["time", "queries", "target", "start"] = "time"


class Row(Record):
    """Outcome of one image.

    Attributes
    ----------
    index, label : int
        Index in the data set's split, and true class.
    clean_prediction : int or None
        Predicted class of the clean image; None if its logits are not finite.
    robust : bool
        Correctly classified when clean, and not broken by any attack.
    broken_by : str or None
        "clean" if misclassified without attack, else the first attack that broke the image, as typed.
    also_broken_by : tuple of str
        In mode "each", the later attacks that broke it too.
    prediction : int or None
        Predicted class of the adversarial image, or of the clean one if there is none.
    distance : float or None
        Norm of the perturbation of the adversarial image; 0 if misclassified when clean.
    margin : float or None
        Largest wrong logit minus the label's on that image, positive if misclassified; for a robust image the
        largest margin of any allowed proposal.
    forwards, gradients : int
        Forward passes and input gradients that all attacks spent on the image.
    finite : bool
        Whether all logits of the image and its proposals were finite.
    """

    index: Count
    label: Count
    clean_prediction: int | None
    robust: bool
    broken_by: str | None
    also_broken_by: tuple[str, ...] = Field(strict=False)
    prediction: int | None
    distance: float | None
    margin: float | None
    forwards: Count
    gradients: Count
    finite: bool


class Result(Record):
    """Result of one evaluation of one model under one threat.

    Attributes
    ----------
    model, data, threat : ModelInfo, DataInfo, ThreatInfo
        What was evaluated, on which images, under which threat.
    mode : {"cascade", "each"}
        Attacks tried the images that no earlier attack broke, or every image.
    clean, robust : Rate
        Clean accuracy, and robust accuracy: image by image the worst case over all attacks.
    attacks : tuple of AttackReport
        One per attack, in the order in which they ran.
    flags : tuple of Flag
        Findings on whether the numbers can be trusted.
    seed, batch_size : int
        Settings of the evaluation.
    complete : bool
        Whether nothing that was asked for was skipped.
    skipped : tuple of Skipped
        Work that was not done.
    adversarial_digest : str
        sha256 over the indices (int32) and pixels (float32) of all stored adversarial images.
    provenance : Provenance
        Software, device, command and time.
    rows : tuple of Row
        One per image, in the order given.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    model: ModelInfo
    data: DataInfo
    threat: ThreatInfo
    mode: Literal["cascade", "each"]
    clean: Rate
    robust: Rate
    attacks: tuple[AttackReport, ...] = Field(strict=False)
    flags: tuple[Flag, ...] = Field(strict=False)
    seed: int
    batch_size: Annotated[int, Field(ge=1)]
    complete: bool
    skipped: tuple[Skipped, ...] = Field(default=(), strict=False)
    adversarial_digest: str
    provenance: Provenance
    rows: tuple[Row, ...] = Field(strict=False)

    @property
    def exit_code(self) -> int:
        """Exit code: 0 complete, 3 invalid, 4 the remote model failed, 5 incomplete or without images."""
        if any(flag.level == "invalid" for flag in self.flags):
            return 3
        if any(skipped.reason == "target" for skipped in self.skipped):
            return 4
        return 0 if self.complete and self.rows else 5

    @property
    def cut_short(self) -> bool:
        """True if a remote model stopped answering before the attacks ended; the run can be resumed."""
        return any(skipped.reason in ("queries", "target") for skipped in self.skipped)

    @property
    def state(self) -> State:
        """State of the result: `exit_code` as a word."""
        states: dict[int, State] = {0: "complete", 3: "invalid", 4: "incomplete", 5: "incomplete"}
        return states[self.exit_code]

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "result") -> Result:
        """Read a result from the JSON that `to_json` wrote.

        Parameters
        ----------
        text : str or bytes
            The JSON.
        source : str
            Name of its origin, for error messages.

        Returns
        -------
        Result
            The result.

        Raises
        ------
        UsageError
            When `text` is not JSON, of another schema version, or has missing, wrong or unknown fields.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UsageError(
                f"{source} is not a result of schema version {SCHEMA_VERSION}: {first_fault(error)}"
            ) from None

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read the result in a JSON file or a run directory.

        Raises
        ------
        UsageError
            When the file is missing or unreadable, or holds no result.
        """
        path = path / "result.json" if path.is_dir() else path
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(f"can't read the result {path}: {error.strerror}") from None
        return cls.from_json(text, str(path))
