"""A served linear model, and images that it classifies rightly."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from advbench.data import Dataset

from .serving import Served

SHAPE, CLASSES, N = (5, 5, 1), 4, 40
WEIGHTS = np.random.default_rng(3).normal(size=(25, CLASSES)) * 2


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("ADVBENCH_TOKEN", raising=False)
    served = Served(WEIGHTS, -WEIGHTS.sum(0) / 2)
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def slept(monkeypatch):
    """Every nap between tries, in seconds as asked for: what a busy machine adds to them counts for nothing."""
    taken = []

    def sleep(seconds):
        taken.append(seconds)
        time.sleep(seconds)

    monkeypatch.setattr("advbench.remote.transport.time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return taken


@pytest.fixture
def hurried(monkeypatch):
    """Waits between tries begin with a millisecond."""
    monkeypatch.setattr("advbench.remote.retry.FIRST", 0.001)


@pytest.fixture(scope="session")
def data() -> Dataset:
    images = np.random.default_rng(4).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    labels = ((images / 255).reshape(N, -1) @ WEIGHTS - WEIGHTS.sum(0) / 2).argmax(1).astype(np.int32)
    return Dataset("noise", "test", images, labels, tuple("abcd"), "made here", "data", N)


@pytest.fixture(scope="session")
def images(data):
    return data.images.astype(np.float32) / np.float32(255)
