"""Clean predictions: one forward pass for each image, so that a rule about clean accuracy needs no attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advbench.core.batches import Batches
from advbench.core.images import parts
from advbench.core.spec import ThreatSpec
from advbench.evaluation.judge import Judge
from advbench.wrappers.facing import judge_view

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.data import Dataset


class Clean:
    """Judges clean images, in increments along an order.

    Parameters
    ----------
    model : LoadedModel
        Model to evaluate.
    data : Dataset
        Images and labels.
    order : np.ndarray
        int32 `[n]`: indices in the order in which they are drawn.
    batch_size : int
        Images in a batch.
    """

    def __init__(self, model: LoadedModel, data: Dataset, order: np.ndarray, batch_size: int):
        self.data, self.order = data, order
        batches = Batches(batch_size)
        self._judge = Judge(judge_view(model.predict), ThreatSpec.parse("linf", "0"), batches, batch_size)
        self.good = np.zeros(0, bool)  # [seen]: right, in the order of the images

    @property
    def seen(self) -> int:
        """Number of images judged."""
        return len(self.good)

    def extend(self, n: int) -> None:
        """Judge the next images.

        Parameters
        ----------
        n : int
            Number of images.
        """
        at = self.order[self.seen : self.seen + n]
        size = self._judge.size
        new = [~self._judge(part.x, part.y, part.x).broken for part in parts(self.data, at, size)]
        self.good = np.concatenate([self.good, *new])
