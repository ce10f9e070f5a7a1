"""Weights to start from: those of another network, without its head if the number of classes differs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from advbench.core.ambient import own_settings
from advbench.core.errors import UsageError, unknown
from advbench.models import store
from advbench.models.architecture import Architecture, Shape

TOLD = 3  # differences in a message


@dataclass(frozen=True)
class Initial:
    """Weights to start from.

    Attributes
    ----------
    source : str
        The name as typed.
    arrays : dict
        Arrays by dotted path.
    classes : int or None
        Number of logits of their network, if a manifest says so.
    digest : str
        sha256 of that network, or of the file if there is no manifest.
    """

    source: str
    arrays: dict[str, np.ndarray]
    classes: int | None
    digest: str

    @own_settings()
    def put_into(self, module: nnx.Module, made: Architecture, shape: Shape, classes: int) -> list[str]:
        """Put the weights into a new network.

        Parameters
        ----------
        module : nnx.Module
            As `made` makes it for `shape` and `classes`; changed in place, but only if all weights fit.
        made, shape, classes
            Its architecture, image shape and number of classes, which tell the weights of the head from others.

        Returns
        -------
        list of str
            Layers that keep their new weights, since those given are for another number of classes.

        Raises
        ------
        UsageError
            When the weights are of another architecture; it names the nearest ones.
        """
        wanted = store.variables(module)
        shapes = {name: tuple(variable.get_value().shape) for name, variable in wanted.items()}
        heads = _heads(shapes, made, shape, classes)
        common = wanted.keys() & self.arrays.keys()
        replaced = {name for name in common if _is_other_head(self.arrays[name].shape, shapes[name], heads.get(name))}
        fits = {name for name in common - replaced if self.arrays[name].shape == shapes[name]}
        if faults := self._faults(shapes, fits | replaced):
            more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
            raise UsageError(f"{self.source} does not fit {made.name}: {'; '.join(faults[:TOLD])}{more}")
        for name in fits:
            now = wanted[name].get_value()
            wanted[name].set_value(jax.device_put(self.arrays[name].astype(now.dtype)))
        return sorted({name.rpartition(".")[0] or name for name in replaced})

    def _faults(self, shapes: dict[str, tuple[int, ...]], settled: set[str]) -> list[str]:
        """List the arrays without a counterpart, each with the nearest candidate."""
        left = {name: array.shape for name, array in self.arrays.items() if name not in settled}
        faults = []
        for name in sorted(shapes.keys() - settled):
            has = f"{name} {list(shapes[name])}"
            if name in left:
                faults.append(f"{has} is given as {list(left.pop(name))}")
            elif near := _nearest(name, shapes[name], {other: left[other] for other in left.keys() - shapes.keys()}):
                faults.append(f"{has} is not given, the nearest is {near} {list(left.pop(near))}")
            else:
                faults.append(f"{has} is not given")
        return faults + [f"{name} {list(size)} is given but not needed" for name, size in sorted(left.items())]


def read(spec: str | Path) -> Initial:
    """Find the weights that `--init` names.

    Parameters
    ----------
    spec : str or Path
        A run directory, the name of a released model, or a `.safetensors` file, whose `model.json` is checked if it
        lies beside it.

    Returns
    -------
    Initial
        The weights.

    Raises
    ------
    UsageError
        When there are no such weights.
    CorruptFile
        When the file is damaged, or not in safetensors format.
    """
    from advbench.models.load import RELEASED, meant, released

    path, text = Path(spec), str(spec)
    if path.is_dir() or path.suffix == ".safetensors":
        weights = path / store.WEIGHTS if path.is_dir() else path
    elif (RELEASED / (name := meant(text)) / store.MANIFEST).is_file():
        weights = RELEASED / name / store.WEIGHTS
    elif path.parent != Path() or path.suffix:
        raise UsageError(f"no weights at {text}: give a run directory, a released model or a .safetensors file")
    else:
        raise UsageError(f"{unknown('model', text, released())}; or a run directory, or a .safetensors file")
    beside = weights.with_name(store.MANIFEST)
    if path.is_dir() or beside.is_file():
        manifest = store.read_manifest(beside)
        return Initial(text, store.read_arrays(weights, manifest.sha256), manifest.classes, manifest.digest)
    arrays = store.read_arrays(weights)
    return Initial(text, arrays, None, hashlib.sha256(weights.read_bytes()).hexdigest())


def _heads(shapes: dict[str, tuple[int, ...]], made: Architecture, shape: Shape, classes: int) -> dict[str, list[bool]]:
    """Find the weights whose shape depends on the number of classes, and the axes that do."""
    other = store.variables(nnx.eval_shape(lambda: made.create(shape, classes + 1, 0)))
    sizes = {name: tuple(variable.get_value().shape) for name, variable in other.items()}
    return {
        name: [a != b for a, b in zip(size, sizes[name], strict=True)]
        for name, size in shapes.items()
        if name in sizes and len(sizes[name]) == len(size) and sizes[name] != size
    }


def _is_other_head(there: tuple[int, ...], here: tuple[int, ...], axes: list[bool] | None) -> bool:
    """Return whether shapes differ, and only along axes that depend on the number of classes."""
    if axes is None or there == here or len(there) != len(here):
        return False
    return all(a == b or free for a, b, free in zip(there, here, axes, strict=True))


def _nearest(name: str, size: tuple[int, ...], others: dict[str, tuple[int, ...]]) -> str | None:
    """Return the most similar name, preferring arrays of the same shape."""

    def alike(other: str) -> tuple[bool, float]:
        return others[other] == size, SequenceMatcher(None, name, other).ratio()

    return max(sorted(others), key=alike, default=None)
