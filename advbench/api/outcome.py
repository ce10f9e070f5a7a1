"""Errors and warnings for results that can't be trusted or are incomplete."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from advbench.core.errors import Inconclusive, InvalidEvaluation, TargetUnavailable

if TYPE_CHECKING:
    from advbench.core.flag import Flag
    from advbench.evaluation import Result

ENDS = {
    "queries": "the query limit was reached",
    "time": "the time limit was reached",
    "start": "attacks found no image to start from",
}


def refuse_invalid(flags: Iterable[Flag]) -> None:
    """Raise an error if a flag says that the numbers can't be trusted.

    Parameters
    ----------
    flags : iterable of Flag
        Flags of results.

    Raises
    ------
    InvalidEvaluation
        Naming the flags of level `invalid`.
    """
    if names := dict.fromkeys(flag.name for flag in flags if flag.level == "invalid"):
        raise InvalidEvaluation(f"these numbers can't be trusted: {', '.join(names)}")


def warn_of_invalid(flags: Iterable[Flag], but: Sequence[str] = ()) -> None:
    """Warn the caller of the Python API of numbers that can't be trusted; call it from the public function itself.

    Parameters
    ----------
    flags : iterable of Flag
        Flags of results.
    but : sequence of str
        Names of flags to leave out.
    """
    names = dict.fromkeys(flag.name for flag in flags if flag.level == "invalid" and flag.name not in but)
    if names:
        warnings.warn(f"these numbers can't be trusted: {', '.join(names)}; see result.flags", stacklevel=3)


def conclude(results: Sequence[Result]) -> None:
    """Raise the error that belongs to results which are invalid or incomplete.

    Parameters
    ----------
    results : sequence of Result
        Results of one command.

    Raises
    ------
    InvalidEvaluation
        When the numbers can't be trusted.
    TargetUnavailable
        When a remote model failed.
    Inconclusive
        When an attack was skipped, or nothing was evaluated.
    """
    refuse_invalid(flag for result in results for flag in result.flags)
    codes = {result.exit_code for result in results}
    if TargetUnavailable.exit_code in codes:
        failed = [flag.message for r in results for flag in r.flags if flag.name == "target_failed"]
        raise TargetUnavailable(failed[0].partition(". Robust accuracy")[0] if failed else "the target failed")
    if codes - {0}:
        skipped = dict.fromkeys(s.spec for r in results for s in r.skipped)
        reasons = {s.reason for r in results for s in r.skipped}
        what = next((words for reason, words in ENDS.items() if reason in reasons), "")
        raise Inconclusive(f"{what}; skipped: {', '.join(skipped)}" if skipped else "nothing was evaluated")
