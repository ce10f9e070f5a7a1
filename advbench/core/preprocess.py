"""Preprocessing of pixels before a network: normalisation by channel, then its order of axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
from jax import Array

from advbench.core.errors import UsageError, unknown
from advbench.core.model import Model
from advbench.core.names import number
from advbench.core.randomised import Randomised

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel

LAYOUTS: Final = {
    "nhwc": "images [N, H, W, C], as JAX, TensorFlow and Keras have them",
    "nchw": "images [N, C, H, W], as PyTorch has them",
    "nwhc": "images [N, W, H, C]: height and width exchanged",
    "ncwh": "images [N, C, W, H]: height and width exchanged",
    "nhw": "grey images [N, H, W]",
    "nwh": "grey images [N, W, H]",
    "flat-hwc": "rows [N, H*W*C], pixel by pixel",
    "flat-chw": "rows [N, C*H*W], channel by channel",
    "flat-whc": "rows [N, W*H*C], column by column",
    "flat-cwh": "rows [N, C*W*H], channel by channel, each column by column",
}
"""Orders of axes that a network may expect."""


class OwnPreprocessing(UsageError):
    """Preprocessing was declared for a model that preprocesses by itself."""


_NUMBER = r"[+-]?(\d{1,9}(\.\d{0,17})?|\.\d{1,17})(/\d{1,9})?"


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing, declared once: the network is called on `arrange((x - mean) / std)` instead of x.

    Parameters
    ----------
    layout : str, optional
        A name in `LAYOUTS`; None leaves images `[B, H, W, C]` as they are, or to be detected.
    mean, std : tuple[float, ...], default ()
        One number for all channels, or one for each, of pixels in [0, 1]; empty for 0 and 1.

    Raises
    ------
    UsageError
        For an unknown layout, or a std that is not positive.
    """

    layout: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # lists, when read from a result's JSON
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if self.layout is not None and self.layout not in LAYOUTS:
            raise unknown("input layout", str(self.layout), LAYOUTS)
        if not all(value > 0 for value in self.std):
            raise UsageError(f"std {self.std} should be positive")

    @classmethod
    def parse(cls, layout: str | None, mean: str | None, std: str | None) -> Preprocess:
        """Read preprocessing as typed: `nchw`, `0.485,0.456,0.406` or `1/2`.

        Parameters
        ----------
        layout : str or None
            A name in `LAYOUTS`.
        mean, std : str or None
            Numbers separated by commas.

        Returns
        -------
        Preprocess
            The preprocessing.

        Raises
        ------
        UsageError
            For an unknown layout, anything but a list of numbers, or a std that is not positive.
        """
        return cls(layout, _numbers("--mean", mean), _numbers("--std", std))

    @classmethod
    def of(cls, record: dict[str, Any]) -> Preprocess:
        """Read the output of `record`.

        Parameters
        ----------
        record : dict[str, Any]
            Fields by name.

        Returns
        -------
        Preprocess
            The preprocessing.

        Raises
        ------
        UsageError
            When the record was altered.
        """
        try:
            return cls(**record)
        except (TypeError, ValueError):
            raise UsageError(f"{record} is no record of a preprocessing") from None

    def __bool__(self) -> bool:
        """False if nothing is changed."""
        return self != AS_IS

    def __call__(self, x: Array) -> Array:
        """Preprocess images `[B, H, W, C]` in [0, 1] for the network."""
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, x.shape[-1]):
                raise UsageError(f"{len(values)} numbers as {what} for images of {x.shape[-1]} channels")
        if self.mean:
            x = x - jnp.asarray(self.mean, x.dtype)
        if self.std:
            x = x / jnp.asarray(self.std, x.dtype)
        return arrange(x, self.layout or "nhwc")

    def wrap(self, predict: Model) -> Model:
        """Put this preprocessing in front of a network.

        Parameters
        ----------
        predict : Model
            Network that takes preprocessed images.

        Returns
        -------
        Model
            Model of images `[B, H, W, C]` in [0, 1].
        """
        if isinstance(predict, Randomised):
            return replace(predict, apply=Preprocessed(predict.apply, self))
        return Preprocessed(predict, self)

    def record(self) -> dict[str, Any]:
        """Return the fields for results, in JSON's types; empty if nothing is changed.

        Returns
        -------
        dict[str, Any]
            Fields by name.
        """
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)} if self else {}


AS_IS: Final = Preprocess()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Preprocessed:
    """A network with its preprocessing in front; further inputs are passed on.

    Parameters
    ----------
    predict : Callable[..., Array]
        Network that takes preprocessed images.
    preprocess : Preprocess, optional
        The preprocessing.
    """

    predict: Callable[..., Array]
    preprocess: Preprocess = field(metadata={"static": True})

    def __call__(self, x: Array, /, *more: Array) -> Array:
        """Logits of images `[B, H, W, C]` in [0, 1]."""
        return self.predict(self.preprocess(x), *more)


def arrange(x: Array, layout: str) -> Array:
    """Transpose images `[B, H, W, C]` to another layout.

    Parameters
    ----------
    x : Array
        Images `[B, H, W, C]`.
    layout : str
        A name in `LAYOUTS`.

    Returns
    -------
    Array
        Images in this layout.

    Raises
    ------
    UsageError
        When the layout has no axis for channels, and there are several.
    """
    axes = layout.removeprefix("flat-").removeprefix("n")
    if "c" not in axes:
        if x.shape[3] != 1:
            raise UsageError(f"input layout {layout} is for grey images, these have {x.shape[3]} channels")
        x = x[..., 0]
    x = x.transpose(0, *(1 + "hwc".index(axis) for axis in axes))
    return x.reshape(len(x), -1) if layout.startswith("flat-") else x


def prepared(model: LoadedModel, preprocess: Preprocess, layouts: Sequence[str] = ("nhwc",)) -> LoadedModel:
    """Put declared preprocessing in front of a model.

    Parameters
    ----------
    model : LoadedModel
        `predict` takes its input as the network does.
    preprocess : Preprocess
        As declared; without a layout, the first of `layouts` is used until `find_layout` detects it.
    layouts : Sequence[str], default ('nhwc',)
        Layouts that the network's input may have, the likeliest first.

    Returns
    -------
    LoadedModel
        `predict` takes images `[B, H, W, C]` in [0, 1].
    """
    open_ = tuple(layouts) if preprocess.layout is None else ()
    if open_ == ("nhwc",) and not preprocess:
        return model
    preprocess = replace(preprocess, layout=preprocess.layout or layouts[0])
    return replace(model, predict=preprocess.wrap(model.predict), preprocess=preprocess, layouts=open_)


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    try:
        if all(re.fullmatch(_NUMBER, part) for part in parts):
            return tuple(float(number(part)) for part in parts)
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(f"{option} {text!r} should be a number for each channel, like 0.485,0.456,0.406 or 1/2")
