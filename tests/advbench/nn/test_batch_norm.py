"""Batch normalisation: the formulas of its paper, Flax's layer, its gradients and theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.nn import native
from advbench.nn.layers import batch_norm

needs_native = pytest.mark.skipif(native.status() != "on", reason=f"native kernel {native.status()}")
LANES = native.lanes()[-1] if native.lanes() else 8


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weights(channels):
    return 1 + 0.3 * normal(0, channels), normal(1, channels)


def ours(relu, **options):
    """A pure function of images, scale and bias: to images, then the new mean and variance."""

    def apply(x, scale, bias):
        layer = batch_norm(x.shape[-1], rngs=nnx.Rngs(0))
        layer.scale[...], layer.bias[...] = scale, bias
        y = layer(x, relu=relu, **options)
        return y, (layer.mean[...], layer.var[...])

    return apply


def flax(relu):
    def apply(x, scale, bias):
        layer = nnx.BatchNorm(x.shape[-1], momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))
        layer.scale[...], layer.bias[...] = scale, bias
        y = layer(x)
        return nnx.relu(y) if relu else y, (layer.mean[...], layer.var[...])

    return apply


def near(found, truth, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * max(np.abs(other).max(), 0.1))


@needs_native
@pytest.mark.parametrize("shift", [0, 100])
def test_it_is_the_formula_even_far_from_zero(shift):
    """With a mean of 100 deviations, the mean of squares minus the square of the mean loses four digits."""
    x, (scale, bias) = shift + normal(2, 40, 8, 8, 3 * LANES), weights(3 * LANES)
    exact = x.astype(np.float64)
    mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    y, (new_mean, new_var) = ours(False)(x, scale, bias)
    near(y, (exact - mean) / np.sqrt(var + 1e-5) * scale + bias)
    near(new_mean, 0.1 * mean)
    near(new_var, 0.9 + 0.1 * var)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 7, 2 * LANES), (40, 8, 8, 3 * LANES), (2, 2, 2, 5 * LANES), (2, 3, 3, 5)])
def test_training_is_that_of_flax_and_so_are_its_gradients(shape, relu):
    x, dy, (scale, bias) = normal(2, *shape), normal(3, *shape), weights(shape[-1])

    def trained(apply):
        return jax.jit(lambda *given: (apply(*given), jax.vjp(apply, *given, has_aux=True)[1](dy)))

    program = trained(ours(relu))
    native_one = native.status() == "on" and shape[-1] % LANES == 0
    assert ("custom_call @advbench_norm" in program.lower(x, scale, bias).as_text()) == native_one
    near(program(x, scale, bias), trained(flax(relu))(x, scale, bias))


@needs_native
@pytest.mark.parametrize("relu", [False, True])
def test_its_gradients_are_differentiated_again(relu):
    x, given = normal(2, 3, 4, 4, LANES), weights(LANES)

    def penalised(apply):
        def penalty(*given):
            slopes = jax.grad(lambda *given: jnp.sin(apply(*given)[0]).sum(), (0, 1, 2))(*given)
            return sum(jnp.sin(slope).sum() for slope in slopes)

        return jax.jit(jax.grad(penalty, (0, 1, 2)))(x, *given)

    near(penalised(ours(relu)), penalised(flax(relu)), 1e-4)


@needs_native
def test_in_evaluation_it_uses_what_is_stored():
    x, (scale, bias) = normal(2, 3, 4, 4, LANES), weights(LANES)
    y, (mean, var) = ours(True, use_running_average=True)(x, scale, bias)
    near(y, np.maximum(x / np.sqrt(1 + 1e-5) * scale + bias, 0))
    assert (mean == 0).all()
    assert (var == 1).all()


@needs_native
def test_mapped_over_batches_each_has_its_own_statistics():
    x, (scale, bias) = normal(2, 3, 4, 2, 2, LANES), weights(LANES)
    mapped = jax.vmap(ours(True), (0, None, None))(x, scale, bias)
    for i in range(3):
        near(jax.tree.map(lambda leaf, i=i: leaf[i], mapped), ours(True)(x[i], scale, bias))


@needs_native
def test_what_is_not_a_number_stays_so():
    x = normal(2, 3, 4, 4, LANES)
    x[1, 2, 2, 3] = np.nan
    y, (mean, _) = ours(True)(x, *weights(LANES))
    assert np.isnan(y[..., 3]).all()
    assert np.isnan(mean).sum() == np.isnan(y).any((0, 1, 2)).sum() == 1
