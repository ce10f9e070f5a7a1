"""Verdict of a gate: one object; terminal, JUnit, SARIF, Markdown and the exit code are all renderings of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from advbench.core.errors import UsageError, first_fault
from advbench.core.flag import Record
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import (
    Count,
    Fractional,
    Result,
    Seconds,
)

GATE_SCHEMA_VERSION: Final = 1

Verdict = Literal["pass", "fail", "inconclusive", "invalid"]
EXIT_CODES: Final[dict[Verdict, int]] = {"invalid": 3, "fail": 1, "inconclusive": 5, "pass": 0}
"""Exit code of each verdict, in the order of precedence: a gate has the first verdict that one of its rules has."""

Kind = Literal[
    "min_robust",  # robust accuracy under a threat, at least
    "min_clean",  # clean accuracy, at least
    "max_drop",  # robust accuracy lost against the baseline, at most
    "min_class",  # robust accuracy of one named class, at least
    "min_worst_class",  # robust accuracy of the class that has the least, at least
    "flags",  # no flag but the allowed ones
]


class Place(Record):
    """File of a rule, relative to the current folder of the command, and line from 1."""

    file: str
    line: Annotated[int, Field(ge=1)] = 1


class Measured(Record):
    """A proportion after `n` of `population` images, with bounds that hold at every look at once."""

    value: Fractional
    low: Fractional
    high: Fractional
    n: Count
    correct: Count
    population: Count
    level: Fractional  # of the bounds, after dividing the error among the rules
    method: str  # like "prior-posterior-ratio, without replacement"


class Outcome(Record):
    """One rule and its verdict."""

    rule: str  # unique in the gate, like "min_robust linf 8/255"
    kind: Kind
    verdict: Verdict
    threat: str | None  # like "linf 8/255"; None where the rule is about clean images
    threshold: Fractional | None  # None: a rule about flags
    measured: Measured | None  # None: nothing was measured, or the rule is about a difference or flags
    difference: Difference | None = None  # against the baseline, for `max_drop`
    class_name: str | None = None  # the class that the rule names, or the worst one
    message: str  # one line: measurement and requirement
    place: Place | None = None


class Gate(Record):
    """One run of a gate on one model. Accuracies are fractions; bounds hold together with probability `1 - error`."""

    schema_version: Literal[1] = GATE_SCHEMA_VERSION
    model: str
    verdict: Verdict
    outcomes: tuple[Outcome, ...] = Field(strict=False)
    error: Fractional  # largest probability of a wrong pass or fail among all rules
    images: Count  # seen
    population: Count  # all images
    seed: int  # of the order of images, and of the attacks
    baseline: str | None = None  # the file
    results: tuple[Result, ...] = Field(strict=False)  # one per threat
    seconds: Seconds

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return EXIT_CODES[self.verdict]

    @classmethod
    def sums(cls, outcomes: tuple[Outcome, ...]) -> Verdict:
        """Combine all verdicts: invalid before fail before inconclusive before pass; without rules inconclusive.

        Parameters
        ----------
        outcomes : tuple[Outcome, ...]
            Outcome of each rule.

        Returns
        -------
        Verdict
            Verdict of the gate.
        """
        found = {outcome.verdict for outcome in outcomes}
        return next((verdict for verdict in EXIT_CODES if verdict in found), "inconclusive")

    @classmethod
    def load(cls, path: Path) -> Gate:
        """Read a file written by `to_json`.

        Parameters
        ----------
        path : Path
            Path of the file.

        Returns
        -------
        Gate
            The gate.

        Raises
        ------
        UsageError
            In one line, when the file can't be read or is not a gate of this schema version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(f"can't read {path}: {error.strerror}") from None
        except ValidationError as error:
            fault = first_fault(error)
            raise UsageError(f"{path} is not a gate of schema version {GATE_SCHEMA_VERSION}: {fault}") from None
