"""Images of the data set that attacks may set out from where they need an adversarial image to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from advbench.core.images import pixels

if TYPE_CHECKING:
    from advbench.data import Dataset
    from advbench.evaluation.judge import Judge
    from advbench.evaluation.tally import Tally

POOL: Final = 200  # images, of all classes alike


class Pool:
    """Some images of each class that the model classifies correctly, found when first asked for.

    The choice depends on the data set alone, not on which of its images are attacked, so that no image's result
    depends on the others.

    Parameters
    ----------
    data : Dataset
        The images to choose from.
    judge : Judge
        Classifies those of them that are not attacked.
    tally : Tally
        Knows the others.
    """

    def __init__(self, data: Dataset, judge: Judge, tally: Tally):
        self.data, self.judge, self.tally = data, judge, tally
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def nearest(self, x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """For each image the nearest ones of other classes, in Euclidean distance.

        Parameters
        ----------
        x, y : np.ndarray
            float32 `[m, H, W, C]` in [0, 1], and their labels, int32 `[m]`.
        count : int
            How many images each gets at most, S.

        Returns
        -------
        images : np.ndarray
            float32 `[m, S, H, W, C]`, the nearest first; 0 where there are fewer.
        counts : np.ndarray
            int32 `[m]`: how many there are.
        """
        pool, labels = self._found = self._found or self._correct()
        near, counts = np.zeros((len(x), count, *x.shape[1:]), np.float32), np.zeros(len(x), np.int32)
        flat = pool.reshape(len(pool), -1).astype(np.float64)
        for at, (image, label) in enumerate(zip(x, y, strict=True)):
            other = np.flatnonzero(labels != label)
            distance = np.square(flat[other] - image.ravel()).sum(1)
            chosen = other[np.argsort(distance, kind="stable")[:count]]
            near[at, : len(chosen)], counts[at] = pool[chosen], len(chosen)
        return near, counts

    def _correct(self) -> tuple[np.ndarray, np.ndarray]:
        """The pool's images that the model classifies correctly, and their labels."""
        chosen = candidates(self.data.labels)
        x, y = pixels(self.data.images[chosen]), self.data.labels[chosen].astype(np.int32)
        known = dict(zip(self.tally.indices.tolist(), self.tally.correct.tolist(), strict=True))
        correct = np.array([known.get(index, False) for index in chosen.tolist()], bool)
        asked = ~np.isin(chosen, self.tally.indices)
        if asked.any():
            clean = x[asked]  # one object: the judge knows by it that these are no adversarial images
            correct[asked] = ~self.judge(clean, y[asked], clean).broken
        return x[correct], y[correct]


def candidates(labels: np.ndarray) -> np.ndarray:
    """Indices of the first images of each class, the first of all classes before the second of any, int64 `[p]`."""
    order = np.argsort(labels, kind="stable")
    first = np.r_[0, np.flatnonzero(np.diff(labels[order])) + 1]
    sizes = np.diff(np.r_[first, len(labels)])
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(first, sizes)
    chosen: np.ndarray = np.lexsort((np.arange(len(labels)), rank))[:POOL]
    return chosen
