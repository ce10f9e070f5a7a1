"""The judge decides which images are broken: it predicts every proposed image and measures its perturbation again."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from advbench.attacks import Model
from advbench.core.ambient import own_settings
from advbench.core.batches import Batches
from advbench.core.errors import UsageError
from advbench.core.model import predict
from advbench.core.outputs import margins
from advbench.core.spec import ThreatSpec
from advbench.wrappers.facing import adversarial_view

TOLERANCE = 1e-6  # pixel units; for eps above 1 (L2, L1), a millionth of eps: the precision of float32 images
AT_ONCE = 1 << 20  # values in float64 at once
ORDERS = {"linf": np.inf, "any": np.inf, "l2": 2, "l1": 1, "l0": 0}


class Verdict(NamedTuple):
    """The judge's findings on m images, as NumPy arrays `[m]`.

    Attributes
    ----------
    broken : np.ndarray
        bool: allowed, and misclassified or with logits that are not finite.
    allowed : np.ndarray
        bool: finite pixels, in the ball and in [0, 1].
    finite : np.ndarray
        bool: all logits are finite.
    prediction : np.ndarray
        int32: predicted class; -1 where the logits are not finite.
    margin : np.ndarray
        float32: largest wrong logit minus the label's; NaN where the logits are not finite.
    distance : np.ndarray
        float64: size of the perturbation in the threat's norm.
    """

    broken: np.ndarray
    allowed: np.ndarray
    finite: np.ndarray
    prediction: np.ndarray
    margin: np.ndarray
    distance: np.ndarray


class Judge:
    """The judge of one model under one threat; all its predictions have the same batch shape.

    Parameters
    ----------
    model : Model
        Maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.
    threat : ThreatSpec
        The ball; pixels range from 0 to 1.
    batches : Batches
        Runs predictions in batches.
    size : int
        Batch shape of all predictions.
    """

    def __init__(self, model: Model, threat: ThreatSpec, batches: Batches, size: int):
        self.model, self.threat, self.batches, self.size = model, threat, batches, size

    @own_settings()
    def __call__(self, x: np.ndarray, y: np.ndarray, x_adv: np.ndarray) -> Verdict:
        """Judge proposed images.

        Parameters
        ----------
        x, x_adv : np.ndarray
            Clean and proposed images, float32 `[m, H, W, C]`; the same object for both judges the clean images.
        y : np.ndarray
            Labels, int32 `[m]`.

        Returns
        -------
        Verdict
            Arrays `[m]`.

        Raises
        ------
        UsageError
            When the model does not return one row of logits per image, or has fewer classes than the labels.
        """
        allowed, distance = measure(self.threat, x, x_adv)
        logits = self.logits(x_adv) if x_adv is x else self.logits(x_adv, y)
        if logits.ndim != 2 or logits.shape[1] <= y.max():
            raise UsageError(
                f"the model returns {list(logits.shape)} for {len(x)} images with labels up to {y.max()}; "
                "it should return logits [images, classes]"
            )
        finite = np.isfinite(logits).all(1)
        prediction = np.where(finite, logits.argmax(1), -1).astype(np.int32)
        return Verdict(
            broken=allowed & (prediction != y),
            allowed=allowed,
            finite=finite,
            prediction=prediction,
            margin=np.where(finite, margins(logits, y), np.nan),
            distance=distance,
        )

    @own_settings()
    def logits(self, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        """Compute logits, float32 `[m, K]`; pixels that are not finite are replaced by 0.

        With labels `y`, the images count as adversarial: if the model rejects one, its label gets the largest logit.
        """
        shown = (np.nan_to_num(x),) if y is None else (np.nan_to_num(x), y)
        logits: np.ndarray = self.batches.map(self._logits, *shown, size=self.size)
        return logits

    def _logits(self, x: np.ndarray, y: np.ndarray | None = None) -> Array:
        logits: Array = predict(self.model if y is None else adversarial_view(self.model, jax.device_put(y)), x)
        return logits


def measure(threat: ThreatSpec, x: np.ndarray, x_adv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure perturbations in float64.

    Returns
    -------
    tuple of np.ndarray
        Whether each image is in the ball and in [0, 1], bool `[m]`; and the norm of its perturbation, float64 `[m]`.
    """
    step = max(1, AT_ONCE // max(1, x_adv[:1].size))
    found = [_measured(threat, x[at : at + step], x_adv[at : at + step]) for at in range(0, max(1, len(x_adv)), step)]
    allowed, distance = (np.concatenate(each) for each in zip(*found, strict=True))
    return allowed, distance


def _measured(threat: ThreatSpec, x: np.ndarray, x_adv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = x_adv.reshape(len(x_adv), -1).astype(np.float64)
    moved = rows - x.reshape(len(x), -1)
    if threat.norm == "l0":
        moved[np.abs(moved) <= TOLERANCE] = 0.0
    distance = np.linalg.norm(moved, ord=ORDERS[threat.norm], axis=1)
    eps = float(threat.eps)
    in_ball = distance <= eps + TOLERANCE * max(1.0, eps)
    in_box = (rows.min(1) >= -TOLERANCE) & (rows.max(1) <= 1 + TOLERANCE)
    return in_ball & in_box, distance  # a NaN compares false
