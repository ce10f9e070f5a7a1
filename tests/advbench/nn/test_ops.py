"""Our convolution and pooling against JAX's own, the definition, and PyTorch's rule for ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from advbench.nn.ops import conv2d
from advbench.nn.pooling import max_pool

SAME_PLUS = ((2, 1), (0, 3))
# Kernel, stride, padding, image: odd and even sizes, and images that the stride does not divide.
CASES = [
    ((1, 1), 1, "VALID", (5, 4)),
    ((1, 1), 2, "SAME", (5, 4)),
    ((1, 1), 2, "SAME", (6, 7)),
    ((3, 3), 1, "SAME", (9, 8)),
    ((3, 3), 1, "VALID", (7, 11)),
    ((3, 3), 2, "SAME", (8, 9)),
    ((3, 3), 2, "VALID", (8, 8)),
    ((3, 3), 2, ((1, 1), (1, 1)), (8, 7)),
    ((4, 4), 2, ((1, 1), (1, 1)), (8, 8)),
    ((4, 2), 1, "SAME", (7, 6)),
    ((5, 3), 1, SAME_PLUS, (9, 8)),
    ((5, 3), 2, SAME_PLUS, (7, 11)),
    ((2, 2), 3, "VALID", (8, 10)),
    ((5, 5), 3, SAME_PLUS, (10, 9)),
    ((5, 5), 1, ((-1, 2), (0, -1)), (10, 9)),
    ((3, 3), 2, ((-1, 1), (2, -2)), (9, 8)),
]


def plain(x, kernel, stride, padding):
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def close(ours, theirs, tolerance=1e-5):
    scale = max(float(jnp.abs(theirs).max()), 1e-30)
    np.testing.assert_allclose(ours, theirs, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize(("window", "stride", "padding", "size"), CASES)
def test_forward_and_both_gradients_equal_jax(window, stride, padding, size):
    x, kernel = normal(0, 2, *size, 3), normal(1, *window, 3, 4)

    def both(convolve):
        y, pull = jax.vjp(convolve, x, kernel)
        return y, *pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    ours, theirs = jax.jit(
        lambda: (
            both(lambda x, k: conv2d(x, k, stride=stride, padding=padding)),
            both(lambda x, k: plain(x, k, stride, padding)),
        )
    )()
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.dtype == jnp.float32
        close(mine, its)


def test_convolution_is_the_sum_in_its_definition():
    x, kernel = np.asarray(normal(0, 1, 5, 6, 2), np.float64), np.asarray(normal(1, 3, 2, 2, 3), np.float64)
    wanted = np.zeros((1, 3, 5, 3))
    for i in range(3):
        for j in range(5):
            wanted[0, i, j] = np.einsum("abc,abco->o", x[0, i : i + 3, j : j + 2], kernel)
    close(conv2d(jnp.float32(x), jnp.float32(kernel), padding="VALID"), wanted)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_equal_finite_differences(stride):
    x, kernel, direction = normal(0, 2, 7, 7, 2), normal(1, 3, 3, 2, 3), normal(2, 2, 7, 7, 2)

    def loss(t):
        return (conv2d(x + t * direction, kernel, stride=stride, padding="SAME") ** 2).sum()

    # The loss is quadratic along a line, so the central difference has no truncation error.
    input_gradient, up, down = jax.jit(lambda: (jax.grad(loss)(0.0), loss(0.5), loss(-0.5)))()
    np.testing.assert_allclose(input_gradient, up - down, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_image_at_a_time_and_in_a_device_loop_change_nothing(stride):
    x, kernel = normal(0, 4, 8, 8, 3), normal(1, 3, 3, 3, 3)

    def gradient(x):
        return jax.grad(lambda x: jnp.sin(conv2d(x, kernel, stride=stride, padding="SAME")).sum())(x)

    def looped(step):
        return jax.jit(lambda x: lax.fori_loop(0, 3, lambda _, x: x + 0.1 * step(x), x))(x)

    wanted = x
    for _ in range(3):
        wanted = wanted + 0.1 * gradient(wanted)
    close(looped(gradient), wanted)
    close(looped(jax.vmap(lambda xi: gradient(xi[None])[0])), wanted)
    close(
        jax.grad(jax.jit(lambda x: jnp.sin(conv2d(x, kernel, stride=stride, padding="SAME")).sum()))(x),
        gradient(x),
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [3, 16])  # 16: where the native kernel serves
def test_gradients_are_differentiated_again_and_again(stride, channels):
    x, kernel = normal(0, 2, 7, 6, channels), normal(1, 3, 3, channels, 16) / 9

    def thrice(convolve):
        once = jax.grad(lambda x, k: jnp.sin(convolve(x, k)).sum(), 0)
        twice = jax.grad(lambda x, k: jnp.sin(once(x, k)).sum(), (0, 1))
        return jax.jit(lambda: (*twice(x, kernel), jax.grad(lambda k: jnp.sin(twice(x, k)[1]).sum())(kernel)))()

    ours = thrice(lambda x, k: conv2d(x, k, stride=stride, padding="SAME"))
    for mine, its in zip(ours, thrice(lambda x, k: plain(x, k, stride, "SAME")), strict=True):
        close(mine, its, 1e-4)


def test_weight_gradients_batch_too():
    x, kernel = normal(0, 4, 6, 6, 2), normal(1, 3, 3, 2, 3)

    def per_image(kernel, xi):
        return jax.grad(lambda k: (conv2d(xi[None], k, padding="VALID") ** 2).sum())(kernel)

    each = jax.vmap(per_image, (None, 0))(kernel, x)
    close(each.sum(0), jax.grad(lambda k: (conv2d(x, k, padding="VALID") ** 2).sum())(kernel))


def test_half_precision_stays_half():
    y, pull = jax.vjp(
        lambda x: conv2d(x, jnp.ones((3, 3, 2, 1), jnp.bfloat16), padding="SAME"), jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    )
    assert y.dtype == pull(y)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("window", [2, 3])
def test_max_pool_takes_the_largest_and_sends_the_gradient_there(window):
    x = normal(0, 2, 7, 9, 3)
    wanted, pull = jax.vjp(
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, window, window, 1), "VALID"), x
    )
    ours, pull_ours = jax.vjp(lambda x: max_pool(x, window), x)
    np.testing.assert_array_equal(ours, wanted)
    np.testing.assert_array_equal(pull_ours(wanted)[0], pull(wanted)[0])


@pytest.mark.parametrize(
    "tied", [[(0, 0), (0, 1)], [(0, 1), (1, 0)], [(1, 0), (1, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]]
)
def test_first_of_tied_pixels_wins_in_row_major_order(tied):
    window = np.zeros((2, 2), np.float32)
    for place in tied:
        window[place] = 1.0
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.asarray(window)[None, :, :, None])[0, :, :, 0]
    wanted = np.zeros((2, 2))
    wanted[tied[0]] = 1.0
    np.testing.assert_array_equal(gradient, wanted)


def test_nan_is_never_hidden_by_pooling():
    for place in range(4):
        x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
        assert jnp.isnan(max_pool(x)).all()
