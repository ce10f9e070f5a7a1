"""Classes of unequal size: what each image counts in the loss, and how often each is drawn."""

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

    Raises
    ------
    ValueError
        For anything else; `what` says what they are.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (-1.0,)
    if not all(0 <= number < math.inf for number in found):
        raise ValueError(f"{what} {text!r} are no list of numbers from 0 up, like 1,2.5")
    return found


def joined(values: str | Sequence[float]) -> str:
    """Numbers as the text that `numbers` reads; a text as it is."""
    return values if isinstance(values, str) else ",".join(repr(float(value)).removesuffix(".0") for value in values)


def check(class_weights: str, sampler: str) -> None:
    """Refuse what is no class weights or no sampler, and both evening out the classes at once.

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
    """Refuse another number of weights than of classes.

    Raises
    ------
    ValueError
        Naming both.
    """
    if class_weights not in (NONE, BALANCED) and (given := class_weights.count(",") + 1) != classes:
        raise ValueError(f"there are {given} class weights, but {classes} classes: give one for each, in their order")


def weights_of(class_weights: str, shares: np.ndarray) -> Array | None:
    """Weight of every class in the loss, float32 `[K]`; None where all images count alike.

    Parameters
    ----------
    class_weights : "none", "balanced", or a number for each class.
    shares : part of the images of a batch that each class is expected to have, `[K]`, summing to 1.
    """
    if class_weights == NONE:
        return None
    if class_weights == BALANCED:
        return jnp.asarray(np.where(shares > 0, 1 / np.maximum(len(shares) * shares, 1e-12), 0), jnp.float32)
    return jnp.asarray(numbers(class_weights, "class weights"), jnp.float32)


def shares_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """Part of the labels that each class has, float64 `[classes]`."""
    shares: np.ndarray = np.bincount(labels, minlength=classes) / max(len(labels), 1)
    return shares


def chances(labels: np.ndarray) -> np.ndarray:
    """Probability of each image to be drawn, float32 `[N]`, such that every class that is there is as likely."""
    counts = np.bincount(labels)
    found: np.ndarray = (1 / (counts[labels] * np.count_nonzero(counts))).astype(np.float32)
    return found


def mean(losses: Array, weights: Array | None) -> Array:
    """Mean of what images cost, `[B]`, with weights `[B]` if there are any, as PyTorch's cross-entropy takes it.

    Raises
    ------
    ValueError
        A defense has only one loss for all images, so that none can count for more.
    """
    if weights is None:
        return losses.mean()
    if losses.ndim == 0:
        raise ValueError("class weights need a defense whose loss is one number for each image")
    return (weights * losses).sum() / jnp.maximum(weights.sum(), 1e-12)
