"""What an evaluation does about a model that counts queries and may end before the attacks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from advbench.core.errors import AdvbenchError, QueriesSpent
from advbench.core.flag import Flag
from advbench.evaluation.result import Queries
from advbench.remote import Remote

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.evaluation.plan import Plan


def listen(model: LoadedModel, should_stop: Callable[[], int | None]) -> None:
    """Let a target ask before every request whether to stop, not only before every batch."""
    if isinstance(model.predict, Remote):
        model.predict.target.transport.should_stop = should_stop


def ended(model: LoadedModel) -> AdvbenchError | None:
    """Why a target answers no more, if so."""
    return model.predict.target.ended if isinstance(model.predict, Remote) else None


def counted(model: LoadedModel) -> Queries | None:
    """What was asked of a target so far."""
    return Queries(**model.predict.target.account()) if isinstance(model.predict, Remote) else None


def reason(end: AdvbenchError) -> Literal["queries", "target"]:
    """Whether the budget ended, or the target failed."""
    return "queries" if isinstance(end, QueriesSpent) else "target"


def ending_flag(end: AdvbenchError, plan: Plan) -> Flag:
    """What to say of a result that is incomplete, with the bounds between which the complete one would lie."""
    n = len(plan.tally.labels)
    low, high = plan.finished / n, float(plan.tally.robust.sum()) / n
    skipped = ", ".join(f"{s.spec} ({s.runs} runs on {s.images} images)" for s in plan.skipped)
    return Flag(
        name="query_budget" if reason(end) == "queries" else "target_failed",
        level="note",
        evidence={"low": low, "high": high, "skipped": [s.spec for s in plan.skipped]},
        message=f"{end}. Robust accuracy under all that was asked for lies between {low:.1%} and {high:.1%}; "
        f"not finished: {skipped}",
    )
