"""A model ready to be attacked, with the facts known about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from advbench.core.errors import UsageError
from advbench.core.execution import Execution
from advbench.core.flag import Flag
from advbench.core.model import Model
from advbench.core.outputs import as_model
from advbench.core.preprocess import AS_IS, Preprocess

if TYPE_CHECKING:
    from advbench.core.dataset import Dataset

Access = Literal["gradient", "score", "decision"]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be attacked.

    Attributes
    ----------
    name : str
        Short, for tables.
    predict : Model
        A pytree, in evaluation mode: images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`; a network whose logits
        have another type, or that gives several outputs, becomes one by `outputs.as_model`.
    shape : tuple of int or None
        Image shape (H, W, C); None if unknown.
    classes : int or None
        Number of logits K; None if unknown.
    dataset : str or None
        Name of the training data; None if unknown.
    digest : str
        sha256 of architecture and weights (of the user's code: its file and every array it holds); a resumed
        evaluation must meet the same one.
    record : dict
        Record of its training, from its manifest.
    source : str
        Name, path or code it was loaded from, for loading it again.
    preprocess : Preprocess
        Preprocessing within `predict`, as declared, with the layout filled in.
    layouts : tuple of str
        Layouts that the network's input may have, where none was declared: see `layout.find_layout`.
    access : {"gradient", "score", "decision"}
        Largest access to it: input gradients, logits, or predicted classes only.
    compare : callable or None
        For a translated model, `compare(model, images)` compares it with its original runtime.
    levels : int or None
        Steps from black to white in its input, 255 for 8-bit pixels; None where pixels are not rounded.
    execution : Execution or None
        Computation that replaces `predict`, or the reason why none does: see `advbench.models.acceleration`.
    """

    name: str
    predict: Model
    shape: tuple[int, int, int] | None
    classes: int | None
    dataset: str | None
    digest: str
    record: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    preprocess: Preprocess = AS_IS
    layouts: tuple[str, ...] = ()
    access: Access = "gradient"
    compare: Callable[[LoadedModel, Any], Flag | None] | None = None
    levels: int | None = None
    execution: Execution | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "predict", as_model(self.predict))

    def require(self, data: Dataset) -> None:
        """Refuse data whose image shape or classes differ from the model's.

        Parameters
        ----------
        data : Dataset
            Training set.

        Raises
        ------
        UsageError
            Naming both.
        """
        if self.shape is not None and self.shape != (shape := data.images.shape[1:]):
            raise UsageError(f"{self.name} takes images of {self.shape}, and {data.name} has {shape}")
        known, there = self.record.get("data", {}).get("classes"), tuple(data.classes)
        if known and tuple(known) != there and not _numbers(known) and not _numbers(there):
            at = next((k for k, pair in enumerate(zip(known, there, strict=False)) if pair[0] != pair[1]), None)
            differ = (
                f"{len(known)} and {len(there)}" if at is None else f"class {at} is {known[at]!r} and {there[at]!r}"
            )
            raise UsageError(
                f"{self.name} was trained on other classes than {data.name} has ({differ}): "
                "give their names in the model's order, a line each, by --classes FILE"
            )


def _numbers(names: Sequence[str]) -> bool:
    """Tell whether the names of classes are just their numbers."""
    return all(str(name) == str(number) for number, name in enumerate(names))
