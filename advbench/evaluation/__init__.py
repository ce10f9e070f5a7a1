"""Judge attacks, image by image, and keep what was found.

Names are imported when first asked for, so that reading a result does not import JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advbench.evaluation.cascade import EvaluationProgress, curve, evaluate
    from advbench.evaluation.result import Result
    from advbench.evaluation.verification import Verification, verify

_HOMES = {
    "EvaluationProgress": "cascade",
    "Result": "result",
    "Verification": "verification",
    "curve": "cascade",
    "evaluate": "cascade",
    "verify": "verification",
}

__all__ = ["EvaluationProgress", "Result", "Verification", "curve", "evaluate", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
