"""Classes of unequal size: weights of images in the loss, and probabilities of drawing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

NONE, BALANCED = "none", "balanced"
SAMPLERS = (NONE, BALANCED)


def numbers(text: str, what: str) -> tuple[float, ...]:
    """Read `1,2.5,0`: finite numbers, none negative.

    Parameters
    ----------
    text : str
        Numbers separated by commas.
    what : str
        Name of the numbers in the error.

    Returns
    -------
    tuple[float, ...]
        The numbers.

    Raises
    ------
    ValueError
        For anything else.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (-1.0,)
    if not all(0 <= number < math.inf for number in found):
        raise ValueError(f"{what} {text!r} are no list of numbers from 0 up, like 1,2.5")
    return found


def joined(values: str | Sequence[float]) -> str:
    """Join numbers to the text that `numbers` reads; return a text as it is.

    Parameters
    ----------
    values : str or Sequence[float]
        Numbers, or a text.

    Returns
    -------
    str
        Numbers separated by commas.
    """
    return values if isinstance(values, str) else ",".join(repr(float(value)).removesuffix(".0") for value in values)


def check(class_weights: str, sampler: str) -> None:
    """Refuse malformed class weights, an unknown sampler, and balancing the classes twice.

    Parameters
    ----------
    class_weights : str
        "none", "balanced", or a number for each class, separated by commas.
    sampler : str
        "none" or "balanced".

    Raises
    ------
    ValueError
        With one line on what is wrong.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r} (there are: {', '.join(SAMPLERS)})")
    if class_weights == sampler == BALANCED:
        raise ValueError("class weights and sampler both even out the classes: choose one")
    if class_weights not in (NONE, BALANCED) and not any(numbers(class_weights, "class weights")):
        raise ValueError("class weights can't all be 0")


def check_count(class_weights: str, classes: int) -> None:
    """Refuse a number of weights that differs from the number of classes.

    Parameters
    ----------
    class_weights : str
        "none", "balanced", or a number for each class, separated by commas.
    classes : int
        Number of classes K.

    Raises
    ------
    ValueError
        Naming both numbers.
    """
    if class_weights not in (NONE, BALANCED) and (given := class_weights.count(",") + 1) != classes:
        raise ValueError(f"there are {given} class weights, but {classes} classes: give one for each, in their order")


def weights_of(class_weights: str, shares: np.ndarray) -> Array | None:
    """Return the weight of every class in the loss; None where all images count alike.

    Parameters
    ----------
    class_weights : str
        "none", "balanced", or a number for each class, separated by commas.
    shares : np.ndarray
        Share of the images of a batch that each class is expected to have, `[K]`, summing to 1.

    Returns
    -------
    Array or None
        float32 `[K]`.
    """
    if class_weights == NONE:
        return None
    if class_weights == BALANCED:
        return jnp.asarray(np.where(shares > 0, 1 / np.maximum(len(shares) * shares, 1e-12), 0), jnp.float32)
    return jnp.asarray(numbers(class_weights, "class weights"), jnp.float32)


def shares_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of the labels that each class has.

    Parameters
    ----------
    labels : np.ndarray
        Integers `[N]` in [0, K).
    classes : int
        Number of classes K.

    Returns
    -------
    np.ndarray
        float64 `[K]`, summing to 1.
    """
    shares: np.ndarray = np.bincount(labels, minlength=classes) / max(len(labels), 1)
    return shares


def chances(labels: np.ndarray) -> np.ndarray:
    """Return the probability of drawing each image, such that every class present is equally likely.

    Parameters
    ----------
    labels : np.ndarray
        Integers `[N]`.

    Returns
    -------
    np.ndarray
        float32 `[N]`, summing to 1.
    """
    counts = np.bincount(labels)
    found: np.ndarray = (1 / (counts[labels] * np.count_nonzero(counts))).astype(np.float32)
    return found


def mean(losses: Array, weights: Array | None) -> Array:
    """Average the losses of images, with weights if there are any, as PyTorch's cross-entropy does.

    Parameters
    ----------
    losses : Array
        float32 `[B]`, or a scalar without weights.
    weights : Array or None
        float32 `[B]`, at least 0.

    Returns
    -------
    Array
        Scalar.

    Raises
    ------
    ValueError
        When weights are given, but the defense has one loss for all images.
    """
    if weights is None:
        return losses.mean()
    if losses.ndim == 0:
        raise ValueError("class weights need a defense whose loss is one number for each image")
    return (weights * losses).sum() / jnp.maximum(weights.sum(), 1e-12)
