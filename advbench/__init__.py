"""Adversarial-robustness benchmarking on JAX: train, attack, certify, tabulate and gate image classifiers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advbench.api.attacking import attack
    from advbench.api.certifying import certify
    from advbench.api.evaluating import curve, evaluate
    from advbench.api.gating import gate
    from advbench.api.training import train
    from advbench.api.verifying import verify
    from advbench.core.dataset import Dataset
    from advbench.data import load as load_data
    from advbench.models.load import load_model

__version__ = "0.1.0"
__all__ = ["Dataset", "attack", "certify", "curve", "evaluate", "gate", "load_data", "load_model", "train", "verify"]

_HOMES = {
    "Dataset": ("advbench.core.dataset", "Dataset"),
    "attack": ("advbench.api.attacking", "attack"),
    "certify": ("advbench.api.certifying", "certify"),
    "curve": ("advbench.api.evaluating", "curve"),
    "evaluate": ("advbench.api.evaluating", "evaluate"),
    "gate": ("advbench.api.gating", "gate"),
    "load_data": ("advbench.data", "load"),
    "load_model": ("advbench.models.load", "load_model"),
    "train": ("advbench.api.training", "train"),
    "verify": ("advbench.api.verifying", "verify"),
}


def __getattr__(name: str) -> Any:
    """Import late, so that `import advbench` does not wait for jax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
