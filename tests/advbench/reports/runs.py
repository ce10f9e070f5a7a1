"""Run directories made by hand, with data to go with them."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from advbench.core.images import digest
from advbench.evaluation.result import Result
from advbench.evaluation.tally import AdversarialImages
from advbench.reports.sources import StoredRun

SHAPE = (6, 6, 1)


class Data:
    """Stands for a data set of ten classes of random images."""

    name, split = "mnist", "test"

    def __init__(self, shape=SHAPE, n=100):
        self.images = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
        self.labels = np.arange(n, dtype=np.int32) % 10

    def require(self, n):
        assert n <= len(self.images)


def store(folder: Path, result: Result, data: Data, **changes) -> StoredRun:
    """A run directory that holds a result and an image for each row that an attack broke."""
    broken = [row for row in result.rows if row.broken_by not in (None, "clean")]
    index = np.array([row.index for row in broken], np.int32)
    x_adv = np.clip(data.images[index] / 255 + 0.1, 0, 1).astype(np.float32)
    images = AdversarialImages(index, x_adv.reshape(-1, *data.images.shape[1:]))
    at = [row.index for row in result.rows]
    content = result.model_dump()
    content["data"]["digest"] = digest(data.images[at], data.labels[at])
    content["adversarial_digest"] = images.digest()
    for path, value in changes.items():
        part, _, field = path.partition("__")
        if field:
            content[part][field] = value
        else:
            content[part] = value
    stored = Result.from_json(json.dumps(content))
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(stored.to_json())
    (folder / "adversarial.safetensors").write_bytes(save(dict(vars(images))))
    return StoredRun(stored, folder, folder)
