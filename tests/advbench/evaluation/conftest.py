"""A small network and small images, on which attacks partly succeed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks.spec import AttackSpec
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset

SHAPE, CLASSES, N = (5, 5, 1), 4, 60


def network(weights, x):
    hidden, out = weights
    return jnp.tanh((x.reshape(len(x), -1) - 0.5) @ hidden) @ out


def make_model(predict=network, *, digest="weights") -> LoadedModel:
    rng = np.random.default_rng(5)
    weights = (jnp.asarray(rng.normal(size=(25, 12)), jnp.float32), jnp.asarray(rng.normal(size=(12, 4)), jnp.float32))
    return LoadedModel("tiny", jax.tree_util.Partial(predict, weights), SHAPE, CLASSES, None, digest)


def make_data() -> Dataset:
    """Labels as the network predicts them, but for the first five."""
    images = np.random.default_rng(6).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    labels = np.asarray(make_model().predict(images / np.float32(255))).argmax(1).astype(np.int32)
    labels[:5] = (labels[:5] + 1) % CLASSES
    return Dataset("noise", "test", images, labels, tuple("abcd"), "made here", "data", N)


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    return make_model()


@pytest.fixture(scope="session")
def data() -> Dataset:
    return make_data()


@pytest.fixture(scope="session")
def threat() -> ThreatSpec:
    return ThreatSpec.parse("linf", "0.05")


def attacks(*texts: str, threat: ThreatSpec | None = None) -> list[AttackSpec]:
    return [AttackSpec.parse(text, threat or ThreatSpec.parse("linf", "0.05")) for text in texts]


def verdicts(result) -> list[tuple]:
    """What a result says of each image, without costs and last digits."""
    return [(row.index, row.clean_prediction, row.robust, row.finite) for row in result.rows]


def timeless(result) -> dict:
    """A result without seconds and dates."""
    content = result.model_dump()
    for key in ("started", "seconds", "command"):
        del content["provenance"][key]
    for attack in content["attacks"]:
        del attack["seconds"], attack["compile_seconds"]
    return content


def run_files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
