"""Images of any shape and any number of classes: linear models, whose robust accuracy in Linf is known exactly."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import advbench

CASES = [((12, 20, 3), 2, 12, 4), ((28, 28, 1), 3, 12, 4), ((32, 32, 4), 100, 8, 8), ((224, 224, 3), 1000, 4, 32)]
"""Shape, classes, images, and the side of the squares over which the model averages before it weighs."""
TARGETS = 20  # classes that are aimed at, at most


def weights(shape, classes, side):
    features = shape[0] // side * (shape[1] // side) * shape[2]
    return np.random.default_rng(1).normal(size=(features, classes)).astype(np.float32)


def pooled(x, side):
    n, height, width, channels = x.shape
    return x.reshape(n, height // side, side, width // side, side, channels).mean((2, 4)).reshape(n, -1)


def radii(x, y, w, side):
    """The Linf distance at which each image falls to each class `[n, K]`: lead over |difference of weights|_1."""
    logits = pooled(x.astype(np.float64), side) @ w
    lead = np.take_along_axis(logits, y[:, None], 1) - logits
    reach = np.abs(w[:, y].T[:, :, None] - w[None]).sum(1)  # each weight is spread over the pixels of a square
    return np.where(np.arange(w.shape[1]) == y[:, None], np.inf, lead / np.maximum(reach, 1e-9))


@pytest.fixture(params=CASES, ids=lambda case: f"{'x'.join(map(str, case[0]))}, {case[1]} classes")
def case(request):
    shape, classes, n, side = request.param
    w = weights(shape, classes, side)
    images = np.random.default_rng(0).integers(100, 156, (n, *shape), dtype=np.uint8)
    labels = (pooled(images / 255, side) @ w).argmax(1)
    return images, labels, w, side


def test_robust_accuracy_is_the_one_that_is_known(case):
    images, labels, w, side = case
    exact = radii(images / 255, labels, w, side)
    distance = np.sort(exact.min(1))
    eps = float(distance[len(images) // 2 - 1 : len(images) // 2 + 1].mean())
    assert eps < 100 / 255  # no pixel leaves the box, where the distance would be another
    targets = min(TARGETS, w.shape[1] - 1)
    likeliest = np.argsort(-(pooled(images / 255, side) @ w), 1)[:, 1 : targets + 1]
    np.testing.assert_array_equal(np.take_along_axis(exact, likeliest, 1).min(1) <= eps, exact.min(1) <= eps)

    def model(x):
        n, height, width, channels = x.shape
        squares = x.reshape(n, height // side, side, width // side, side, channels)
        return squares.mean((2, 4)).reshape(n, -1) @ jnp.asarray(w)

    step = f"pgd:steps=1,rel_step_size=1,start=clean,loss=margin,targets={targets}"
    asked = {"norm": "linf", "eps": eps, "preflight": False, "batch_size": len(images)}
    result = advbench.evaluate(model, (images, labels), attacks=step, doublings=0, **asked)
    assert result.clean.accuracy == 1.0 and result.robust.n == len(images)
    assert [row.robust for row in result.rows] == (exact.min(1) > eps).tolist()
    assert len(result.data.classes) == w.shape[1]


class Linear(nnx.Module):
    def __init__(self, shape, classes, *, rngs):
        self.layer = nnx.Linear(int(np.prod(shape)), classes, rngs=rngs)

    def __call__(self, x):
        return self.layer(x.reshape(len(x), -1))


@pytest.mark.parametrize(("shape", "classes"), [case[:2] for case in CASES[:3]])
def test_a_few_steps_of_training(shape, classes):
    labels = np.arange(4 * classes) % classes
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    threat, size = {"norm": "linf", "eps": 0.01}, min(len(labels) // 2, 32)
    model = advbench.train(
        (images, labels), Linear, "standard", **threat, epochs=1, batch_size=size, validation=2, schedule="constant"
    )
    assert (model.shape, model.classes) == (shape, classes)
    assert np.isfinite(np.asarray(model.predict(jnp.asarray(images[:2] / np.float32(255))))).all()
