"""Answers of a remote model: their kind, and the logits that attacks and judge get for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advbench.core.errors import TargetUnavailable, UsageError
from advbench.remote.settings import Answers, TargetSettings

SMALLEST = 1e-37  # a probability of 0 counts as this
SAME = 1e-4  # of the largest number: what batching on the server may change
STRAY = 0.05  # share of labels that may flip at the boundary


class AnswerFormat(NamedTuple):
    """Kind and form of the answers of a remote model."""

    kind: Answers
    classes: int  # as many as there are logits
    resolution: float  # the step to which scores are rounded, 0 where they are not


def found_in(rows: np.ndarray, settings: TargetSettings, classes: int, where: object) -> AnswerFormat:
    """Find out kind and form of the first answers, unless the settings declare them.

    One score for each image is accepted if the data has two classes: it is the logit or the probability of class 1.

    Parameters
    ----------
    rows : np.ndarray
        Answers to different images, `[n, K]` or `[n]`.
    settings : TargetSettings
        The target file.
    classes : int
        Number of classes of the data.
    where : object
        The URL, for messages.

    Returns
    -------
    AnswerFormat
        Kind, number of classes and resolution.

    Raises
    ------
    UsageError
        When there are fewer scores than classes in the data.
    TargetUnavailable
        When the answers can't be understood.
    """
    kind = settings.answers or kind_of(rows, where, classes)
    width = rows.shape[1] if rows.ndim == 2 else settings.classes or classes
    if kind != "labels" and (width < classes or (rows.ndim == 1 and classes != 2)):
        raise UsageError(f"{where} gives {rows[0].size} scores, but the data has {classes} classes")
    return AnswerFormat(kind, max(width, classes), 0.0 if kind == "labels" else resolution(rows))


def kind_of(rows: np.ndarray, where: object, classes: int | None = None) -> Answers:
    """Classify answers as logits, probabilities or labels.

    Probabilities that are all exactly 0 or 1 tell no more than labels, and count as labels.

    Parameters
    ----------
    rows : np.ndarray
        Answers to different images, `[n, K]` or `[n]`.
    where : object
        The URL, for messages.
    classes : int, optional
        Number of classes of the data.

    Returns
    -------
    {"logits", "probabilities", "labels"}
        The kind.

    Raises
    ------
    TargetUnavailable
        When there is one number for each image which is not a label.
    """
    if rows.ndim == 1:
        if (rows == np.rint(rows)).all() and rows.min() >= 0:
            return "labels"
        if classes == 2:
            return "probabilities" if rows.min() >= 0 and rows.max() <= 1 else "logits"
        raise TargetUnavailable(f"{where} answers one score for each image; a score for each class is needed")
    if rows.min() < 0 or rows.max() > 1 or np.abs(rows.sum(1) - 1).max() > 1e-3 + 0.005 * rows.shape[1]:
        return "logits"
    return "labels" if np.isin(rows, (0, 1)).all() else "probabilities"


def logits(rows: np.ndarray, kind: Answers, classes: int, where: object) -> np.ndarray:
    """Convert answers to logits: unchanged, the logarithm of probabilities, or 1 for the label and -1 elsewhere.

    One score for each image, `[n]`, of two classes becomes `[0, z]`, where z is the logit of class 1.

    Parameters
    ----------
    rows : np.ndarray
        Answers, `[n, K]` or `[n]`.
    kind : {"logits", "probabilities", "labels"}
        Their kind.
    classes : int
        Number of logits.
    where : object
        The URL, for messages.

    Returns
    -------
    np.ndarray
        Logits, float32 `[n, K]`.

    Raises
    ------
    TargetUnavailable
        When the rows are not answers of this kind.
    """
    if kind == "labels":
        labels = rows.argmax(1) if rows.ndim == 2 else rows.astype(np.int64)
        if (rows.ndim == 1 and (labels != rows).any()) or labels.min() < 0 or labels.max() >= classes:
            raise TargetUnavailable(f"{where} answered a label that is not from 0 to {classes - 1}")
        chosen = np.arange(classes) == labels[:, None]
        return np.where(chosen, np.float32(1), np.float32(-1))
    if rows.ndim == 1 and classes == 2:
        return logits(_both(rows, kind, where), "logits", classes, where)
    if rows.ndim != 2 or rows.shape[1] != classes:
        raise TargetUnavailable(f"{where} answered {list(rows.shape)}, not scores of {classes} classes")
    if kind == "probabilities":
        if rows.min() < 0:
            raise TargetUnavailable(f"{where} answered a negative probability")
        rows = np.log(np.maximum(rows, SMALLEST))
    with np.errstate(over="ignore"):
        single = rows.astype(np.float32)
    if not np.isfinite(single).all():
        raise TargetUnavailable(f"{where} answered logits beyond float32")
    return single


def _both(rows: np.ndarray, kind: Answers, where: object) -> np.ndarray:
    """Convert scores of class 1, `[n]`, to logits of both classes, `[n, 2]`."""
    if kind == "probabilities":
        if rows.min() < 0 or rows.max() > 1:
            raise TargetUnavailable(f"{where} answered a probability beyond [0, 1]")
        rows = np.log(np.maximum(rows, SMALLEST)) - np.log(np.maximum(1 - rows, SMALLEST))
    return np.stack([np.zeros_like(rows, float), rows], 1)


def resolution(rows: np.ndarray) -> float:
    """Find the step to which scores are rounded.

    Parameters
    ----------
    rows : np.ndarray
        Scores, `[n, K]` or `[n]`.

    Returns
    -------
    float
        0.1, 0.01, 0.001 or 0.0001; 0 for scores that are not rounded.
    """
    for step in (0.1, 0.01, 0.001, 0.0001):
        if np.allclose(rows / step, np.rint(rows / step), rtol=0, atol=1e-6):
            return step
    return 0.0


def changed(before: np.ndarray, after: np.ndarray, kind: Answers, step: float) -> bool:
    """Return whether answers to the same images differ by more than rounding.

    Parameters
    ----------
    before, after : np.ndarray
        Answers, `[n, K]` or `[n]`.
    kind : {"logits", "probabilities", "labels"}
        Their kind.
    step : float
        Their resolution.

    Returns
    -------
    bool
        Labels may differ in 5 % of the images, since batching on the server may change a tie.
    """
    if before.shape != after.shape:
        return True
    if kind == "labels":
        differ = (before != after).reshape(len(before), -1).any(1)
        return int(differ.sum()) > max(1.0, STRAY * len(before))
    return bool(np.abs(before - after).max() > max(SAME * np.abs(before).max(), 1.5 * step))
