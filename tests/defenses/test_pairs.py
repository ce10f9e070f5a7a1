"""Defenses that compare what the network says of clean and crafted images: MART, logit pairing, GradAlign."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from advbench.attacks import FGSM
from advbench.defenses import MART, GradAlign, LogitPairing
from advbench.defenses.grad_align import misaligned
from advbench.nn.frozen import freeze

from .tiny import LINF, Net, blobs


@pytest.fixture(scope="module")
def batch():
    images, labels = blobs(32)
    x, y = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(labels)
    moved = jnp.clip(x + 0.2 * jax.random.normal(jax.random.key(2), x.shape), 0, 1)
    return x, moved, y


def probabilities(model, x):
    z = np.asarray(model(x), np.float64)
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_mart_pays_boosted_cross_entropy_and_divergence_where_the_clean_image_is_missed(batch):
    x, moved, y = batch
    model = freeze(Net())
    rows = np.arange(len(y))
    p, q = probabilities(model, x), probabilities(model, moved)
    wrong = np.where(np.eye(3, dtype=bool)[y], 0, q).max(-1)
    boosted = -np.log(q[rows, y]) - np.log(1 - wrong)
    divergence = (p * np.log(p / q)).sum(-1)
    loss, logits = MART(beta=5.0).loss(model, x, moved, jax.nn.one_hot(y, 3))
    np.testing.assert_allclose(loss, boosted + 5 * divergence * (1 - p[rows, y]), rtol=1e-4)
    np.testing.assert_array_equal(logits, model(moved))


def test_mart_pays_no_divergence_for_images_that_are_surely_right(batch):
    _, moved, y = batch
    target = jax.nn.one_hot(y, 3)

    def model(x):
        return 40 * target if x is None else freeze(Net())(x)

    losses = [MART(beta=beta).loss(model, None, moved, target)[0] for beta in (0.0, 5.0)]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_mart_stays_finite_where_the_network_is_surely_wrong(batch):
    x, moved, y = batch

    def loss(scale):
        return MART().loss(lambda x: scale * freeze(Net())(x), x, moved, jax.nn.one_hot(y, 3))[0].mean()

    value, input_gradient = jax.value_and_grad(loss)(1e4)
    assert np.isfinite([value, input_gradient]).all()


def test_logit_pairing_pays_both_cross_entropies_and_the_squared_difference(batch):
    x, moved, y = batch
    model = freeze(Net())
    rows = np.arange(len(y))
    p, q = probabilities(model, x), probabilities(model, moved)
    gap = np.square(np.asarray(model(x), np.float64) - np.asarray(model(moved), np.float64)).mean(-1)
    loss, _ = LogitPairing(weight=0.5).loss(model, x, moved, jax.nn.one_hot(y, 3))
    entropy = (-np.log(p[rows, y]) - np.log(q[rows, y])) / 2
    np.testing.assert_allclose(loss, entropy + 0.5 * gap, rtol=1e-4)


def gradients(model, x, y):
    return jax.grad(lambda x: optax.softmax_cross_entropy_with_integer_labels(model(x), y).sum())(x)


def test_grad_align_pays_the_cosine_between_gradients(batch):
    x, _, y = batch
    model, keys = freeze(Net()), jax.random.split(jax.random.key(1), 32)
    perturbed = GradAlign().perturb(model, LINF, x, y, keys)
    moved, noisy = perturbed[:, 0], perturbed[:, 1]
    np.testing.assert_array_equal(moved, FGSM(keep=False)(model, LINF, x, y, keys).x)
    assert 0.05 < jnp.abs(noisy - x).max() <= LINF.eps + 1e-6
    a, b = (np.asarray(gradients(model, at, y), np.float64).reshape(32, -1) for at in (x, noisy))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    entropy = -np.log(probabilities(model, moved)[np.arange(32), y])
    target = jax.nn.one_hot(y, 3)
    loss, logits = GradAlign(weight=0.5).loss(model, x, perturbed, target)
    np.testing.assert_allclose(loss, entropy + 0.5 * (1 - cosine), rtol=1e-3)
    np.testing.assert_array_equal(logits, model(moved))
    np.testing.assert_allclose(GradAlign(weight=0.0).loss(model, x, perturbed, target)[0], entropy, rtol=1e-4)


def test_two_classes_of_a_linear_network_are_aligned_everywhere(batch):
    x, _, y = batch
    weights = jax.random.normal(jax.random.key(3), (36, 2))
    y, keys = y % 2, jax.random.split(jax.random.key(1), 32)

    def model(x):
        return x.reshape(len(x), -1) @ weights

    a, b = gradients(model, x, y), gradients(model, jax.vmap(LINF.start)(keys, x), y)
    assert abs(float(misaligned(a, b).mean())) < 1e-5
    assert float(misaligned(a, -b).mean()) == pytest.approx(2, abs=1e-5)


def test_alignment_does_not_depend_on_how_long_gradients_are_and_leaves_zeros_out():
    a, b = jax.random.normal(jax.random.key(0), (2, 8, 5))
    whole = float(misaligned(a, b).mean())
    assert float(misaligned(1e-25 * a, 1e25 * b).mean()) == pytest.approx(whole, rel=1e-4)
    some = jnp.arange(8) < 3
    few = float(misaligned(a[:3], b[:3]).mean())
    assert float(misaligned(a * some[:, None], b).mean()) == pytest.approx(few, rel=1e-4)
    nothing, input_gradient = jax.value_and_grad(lambda a: misaligned(a, b).mean())(jnp.zeros((8, 5)))
    assert nothing == 0
    assert jnp.isfinite(input_gradient).all()
