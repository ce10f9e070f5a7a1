"""The command line in this process, on tiny models of the user's own."""

import pytest
from typer.testing import CliRunner

from advbench.cli import app

MODELS = '''
import jax, jax.numpy as jnp, numpy as np
from jax.tree_util import Partial
from advbench.data import load

def _means():
    data = load("mnist")
    x = data.images[:1000].reshape(1000, -1) / 255
    w = np.stack([x[data.labels[:1000] == k].mean(0) for k in range(10)], 1).astype(np.float32)
    return jnp.asarray(w), jnp.asarray(-0.5 * (w**2).sum(0))

def _nearest_mean(p, x):
    return x.reshape(len(x), -1) @ p[0] + p[1]

def net():
    return Partial(_nearest_mean, _means())

def blind():
    """Sees the middle of the image only."""
    return Partial(lambda p, x: _nearest_mean(p, x.at[:, :9].set(0)), _means())

def coarse_later():
    """Sees black and white; only at clean images, whose pixels are multiples of 1/255, is there a slope."""
    def predict(p, x):
        near = jnp.abs(255 * x - jnp.round(255 * x)) < 1e-3
        slope = 1e-3 * jnp.where(near, x - jax.lax.stop_gradient(x), 0)
        return _nearest_mean(p, jnp.round(x) + slope)
    return Partial(predict, _means())

def nan():
    return Partial(lambda p, x: jnp.where(x[:, 14, 14] > 0.5, jnp.nan, _nearest_mean(p, x)), _means())

def softmax():
    return Partial(lambda p, x: jax.nn.softmax(_nearest_mean(p, x)), _means())

def scalar():
    return Partial(lambda p, x: _nearest_mean(p, x).sum(), _means())

def three():
    return Partial(lambda p, x: _nearest_mean(p, x)[:, :3], _means())

def colours():
    return Partial(lambda w, x: x.reshape(len(x), -1) @ w, jnp.ones((3072, 10)))

def noisy():
    from advbench.attacks import Randomised

    def shaken(p, x, key):
        return _nearest_mean(p, x + 0.1 * jax.random.normal(key, x.shape))

    return Randomised(Partial(shaken, _means()))

def broken():
    raise RuntimeError("out of luck")
'''


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Programs compiled for one test serve the next."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    """Invoke `advbench` in an empty folder that holds `mine.py`."""
    (tmp_path / "mine.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def attack(run):
    """`advbench attack` on 64 MNIST images, by FGSM unless told otherwise."""

    def invoke(model, *words):
        defaults = {"--data": "mnist", "--attack": "fgsm", "--eps": "0.1", "-n": "64", "--preflight": "none"}
        given = [str(word) for word in words]
        missing = [word for pair in defaults.items() if pair[0] not in given for word in pair]
        if "--indices" in given:
            missing = [word for word in missing if word not in ("-n", "64")]
        return run("attack", f"mine.py:{model}", *missing, *given)

    return invoke
