"""Evaluation of remote models: queries are counted, and the model may stop answering before the attacks end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from advbench.core.errors import AdvbenchError, QueriesSpent
from advbench.core.flag import Flag
from advbench.evaluation.result import Queries
from advbench.remote import Remote

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.evaluation.plan import Schedule


def listen(model: LoadedModel, should_stop: Callable[[], int | None]) -> None:
    """Make a remote model call `should_stop` before every request, not only before every batch."""
    if isinstance(model.predict, Remote):
        model.predict.target.transport.should_stop = should_stop


def ended(model: LoadedModel) -> AdvbenchError | None:
    """Return the error for which a remote model no longer answers, or None."""
    return model.predict.target.ended if isinstance(model.predict, Remote) else None


def query_counts(model: LoadedModel) -> Queries | None:
    """Return the counts of queries to a remote model so far; None for a local model."""
    return Queries(**model.predict.target.account()) if isinstance(model.predict, Remote) else None


def reason(end: AdvbenchError) -> Literal["queries", "target"]:
    """Return "queries" if the query limit was reached, "target" if the remote model failed."""
    return "queries" if isinstance(end, QueriesSpent) else "target"


def ending_flag(end: AdvbenchError, plan: Schedule) -> Flag:
    """Build the flag of an incomplete result, with bounds of the complete robust accuracy.

    Parameters
    ----------
    end : AdvbenchError
        Reason for which the remote model stopped answering.
    plan : Schedule
        The schedule, cut short.

    Returns
    -------
    Flag
        `query_budget` or `target_failed`, a note.
    """
    n = len(plan.tally.labels)
    low, high = plan.finished / n, float(plan.tally.robust.sum()) / n
    skipped = ", ".join(f"{s.spec} ({s.runs} trials on {s.images} images)" for s in plan.skipped)
    return Flag(
        name="query_budget" if reason(end) == "queries" else "target_failed",
        level="note",
        evidence={"low": low, "high": high, "skipped": [s.spec for s in plan.skipped]},
        message=f"{end}. Robust accuracy under all attacks asked for lies between {low:.1%} and {high:.1%}; "
        f"not finished: {skipped}",
    )
