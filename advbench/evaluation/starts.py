"""Images of other classes as starts for attacks that begin from a misclassified image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from advbench.core.images import pixels

if TYPE_CHECKING:
    from advbench.data import Dataset
    from advbench.evaluation.judge import Judge
    from advbench.evaluation.tally import Tally

POOL: Final = 200  # images, the same number of each class


class Pool:
    """Correctly classified images of each class, found on first use.

    The choice depends on the data set only, not on the attacked images, so that no image's result depends on the
    others.

    Parameters
    ----------
    data : Dataset
        Images to choose from.
    judge : Judge
        Classifies the candidates that are not attacked themselves.
    tally : Tally
        Holds the clean predictions of the attacked images.
    """

    def __init__(self, data: Dataset, judge: Judge, tally: Tally):
        self.data, self.judge, self.tally = data, judge, tally
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def nearest(self, x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find for each image the nearest images of other classes in Euclidean distance.

        Parameters
        ----------
        x, y : np.ndarray
            Images float32 `[m, H, W, C]` in [0, 1], and labels int32 `[m]`.
        count : int
            Most starts per image, S.

        Returns
        -------
        images : np.ndarray
            float32 `[m, S, H, W, C]`, the nearest first; 0 beyond the number found.
        counts : np.ndarray
            int32 `[m]`: number of starts found.
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
        """Find the candidates that the model classifies correctly, with their labels."""
        chosen = candidates(self.data.labels)
        x, y = pixels(self.data.images[chosen]), self.data.labels[chosen].astype(np.int32)
        known = dict(zip(self.tally.indices.tolist(), self.tally.correct.tolist(), strict=True))
        correct = np.array([known.get(index, False) for index in chosen.tolist()], bool)
        asked = ~np.isin(chosen, self.tally.indices)
        if asked.any():
            clean = x[asked]  # one object for both arguments tells the judge that these images are clean
            correct[asked] = ~self.judge(clean, y[asked], clean).broken
        return x[correct], y[correct]


def candidates(labels: np.ndarray) -> np.ndarray:
    """Return indices of the first images of each class, int64 `[p]`: one of every class before a second of any."""
    order = np.argsort(labels, kind="stable")
    first = np.r_[0, np.flatnonzero(np.diff(labels[order])) + 1]
    sizes = np.diff(np.r_[first, len(labels)])
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(first, sizes)
    chosen: np.ndarray = np.lexsort((np.arange(len(labels)), rank))[:POOL]
    return chosen
