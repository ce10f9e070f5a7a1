"""Adversarial-robustness benchmarking on JAX: train, attack, tabulate and gate image classifiers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advbench.api.training import train
    from advbench.data import load as load_data
    from advbench.evaluation import curve, evaluate, verify
    from advbench.models.load import load_model

__version__ = "0.1.0"
__all__ = ["curve", "evaluate", "load_data", "load_model", "train", "verify"]

_HOMES = {
    "curve": ("advbench.evaluation", "curve"),
    "evaluate": ("advbench.evaluation", "evaluate"),
    "load_data": ("advbench.data", "load"),
    "load_model": ("advbench.models.load", "load_model"),
    "train": ("advbench.api.training", "train"),
    "verify": ("advbench.evaluation", "verify"),
}


def __getattr__(name: str) -> Any:
    """Import late, so that `import advbench` does not wait for jax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
