"""Models whose jaxpr got this package's operators: the same function, with derivatives that loop on the device."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from advbench.attacks.loop import loops_on_device
from advbench.core.plain import reference_operations
from advbench.nn import native, rewrite
from advbench.nn.frozen import freeze
from advbench.nn.rewrite import Count, Rewritten, count

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU are operators replaced")

X = jax.random.uniform(jax.random.key(0), (3, 8, 8, 2))
NHWC, NCHW, CHWN = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("CHWN", "IHWO", "NHWC")


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape) / 3


WEIGHTS = {
    "first": normal(1, 3, 3, 2, 8),
    "many": normal(2, 2, 3, 3, 8, 8),
    "channels first": normal(3, 8, 8, 3, 3),
    "odd order": normal(4, 8, 2, 3, 8),
    "branch": normal(5, 3, 3, 8, 8),
    "out": normal(6, 8, 3),
}


def everything(w, x):
    """Each way in which a convolution may stand in a jaxpr, and three kinds of pools."""
    convolve = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    y = jax.nn.relu(jax.jit(lambda x: convolve(x, w["first"], dimension_numbers=NHWC))(x))
    y, rows = lax.scan(lambda y, k: (jnp.tanh(convolve(y, k, dimension_numbers=NHWC)), y.mean((1, 2))), y, w["many"])
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    y = jax.checkpoint(lambda y: convolve(y, w["channels first"], dimension_numbers=NCHW))(y.transpose(0, 3, 1, 2))
    y = convolve(y.transpose(1, 2, 3, 0), w["odd order"], window_strides=(2, 2), dimension_numbers=CHWN)
    last = partial(convolve, rhs=w["branch"], dimension_numbers=NHWC)
    y = lax.cond(x.sum() > 0, last, lambda y: -last(y), y)
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return {"logits": (y.mean((1, 2)) + rows.sum(0)) @ w["out"]}


def left(w, x):
    """Convolutions that no operator here computes, and one whose derivative is its own."""
    convolve = partial(lax.conv_general_dilated, dimension_numbers=NHWC, padding="SAME")
    y = convolve(x, w["first"][:, :, :1], (1, 1), feature_group_count=2)
    y = convolve(y, w["branch"], (1, 2)) + convolve(y, w["branch"], (1, 2), rhs_dilation=(2, 1))
    own = jax.custom_jvp(lambda y: convolve(y, w["branch"], (1, 1)))
    own.defjvp(lambda y, dy: (own(*y), 2 * dy[0]))
    return own(y).mean((1, 2)) @ w["out"]


def images(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def answers(model, x):
    """Outputs, and input gradients of a weighted sum."""

    def weighted(x):
        logits = jax.tree.leaves(model(x))[0]
        return (logits * jnp.arange(1.0, 1 + logits.size).reshape(logits.shape)).sum(), logits

    gradient, logits = jax.grad(weighted, has_aux=True)(x)
    return logits, gradient


def test_the_function_and_its_gradient_stay_and_loop_on_the_device():
    given = jax.tree_util.Partial(everything, WEIGHTS)
    ours = Rewritten(given)
    assert count(given, images(X)) == Count(convolutions=6, pools=2, left=0)
    assert not loops_on_device(given, X)
    assert loops_on_device(ours, X)
    assert jax.tree.leaves(ours) == jax.tree.leaves(given)  # the weights are arguments still, and the same
    assert set(jax.eval_shape(ours, images(X))) == {"logits"}
    for mine, theirs in zip(*jax.jit(lambda a, b, x: (answers(a, x), answers(b, x)))(ours, given, X), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


def follow(w, x, end):
    """Convolutions with what may follow them: by channel, ReLU, pooling; and what only looks like it."""
    convolve = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")
    rows = w["out"].T  # [3, 8]
    y = jax.nn.relu(convolve(x, w["first"], dimension_numbers=NHWC) + 0 * rows[0])  # exactly 0 where the image is
    y = (convolve(y, w["many"][0], dimension_numbers=NHWC) - rows[0]) * (1 + rows[1]) + rows[2]
    y = lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = convolve(y.transpose(0, 3, 1, 2), w["channels first"], dimension_numbers=NCHW) / (2 + rows[0][:, None, None])
    y = lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID").transpose(0, 2, 3, 1)
    return end(convolve(y, w["branch"], dimension_numbers=NHWC)).mean((1, 2))


@jax.custom_jvp
def through(x):
    """ReLU, but for its slope."""
    return jax.jit(lambda x: jnp.maximum(x, 0))(x)


through.defjvp(lambda x, dx: (through(*x), dx[0]))


@pytest.mark.parametrize(
    ("end", "fused"), [(jax.nn.relu, 4), (lambda y: jnp.maximum(y, 0), 3), (through, 3)], ids=["relu", "maximum", "own"]
)
def test_what_follows_a_convolution_is_fused_only_where_slopes_are_the_same(end, fused):
    given = jax.tree_util.Partial(partial(follow, end=end), WEIGHTS)
    black = X * (jnp.arange(8) > 4)[:, None, None]  # rows on which units lie at their kink
    mine, theirs = jax.jit(lambda a, b, x: (answers(a, x), answers(b, x)))(Rewritten(given), given, black)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max(), rtol=0)
    assert str(jax.make_jaxpr(Rewritten(given))(X)).count("name=_fused") == fused or native.status() != "on"


def test_a_batch_of_single_images_becomes_one_of_many():
    """As Equinox calls its modules: `vmap` over images `[C, H, W]`."""
    given = jax.tree_util.Partial(
        lambda k, x: jax.vmap(lambda one: lax.conv_general_dilated(one[None], k, (1, 1), "SAME")[0])(x).mean((2, 3)),
        normal(7, 8, 2, 3, 3),
    )
    x = X.transpose(0, 3, 1, 2)
    assert count(given, images(x)) == Count(convolutions=1, pools=0, left=0)
    np.testing.assert_allclose(jax.jit(Rewritten(given))(x), given(x), atol=1e-5)


class Nnx(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.norm, self.second = (
            nnx.Conv(2, 8, (3, 3), rngs=rngs),
            nnx.BatchNorm(8, rngs=rngs),
            nnx.Conv(8, 8, (3, 3), strides=2, use_bias=False, rngs=rngs),
        )

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.norm(self.first(x))), (2, 2), (2, 2))
        return self.second(x).mean((1, 2))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.BatchNorm(use_running_average=True)(linen.Conv(8, (3, 3))(x))
        return linen.Conv(8, (2, 2), strides=2)(linen.max_pool(linen.relu(x), (2, 2), (2, 2))).mean((1, 2))


@pytest.mark.parametrize("kind", [Nnx, Linen])
def test_layers_of_flax_are_known(kind):
    net = kind()
    model = freeze(net) if kind is Nnx else jax.tree_util.Partial(net.apply, net.init(jax.random.key(0), X))
    assert count(model, images(X)) == Count(convolutions=2, pools=1, left=0)
    program = str(jax.make_jaxpr(Rewritten(model))(X))
    assert program.count("name=_fused") == 1 or native.status() != "on"  # batch norm, ReLU and pooling with it
    assert "reduce_window" not in program


def test_what_is_not_the_same_function_is_left():
    given = jax.tree_util.Partial(left, WEIGHTS)
    assert count(given, images(X)) == Count(convolutions=0, pools=0, left=4)
    assert not loops_on_device(Rewritten(given), X)
    program = str(jax.make_jaxpr(Rewritten(given))(X))
    assert program.count("conv_general_dilated[") == str(jax.make_jaxpr(given)(X)).count("conv_general_dilated[")


def test_tied_pixels_keep_their_gradient_to_the_bit():
    tied = jnp.round(2 * X)

    def pools(x):
        wide = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0)))
        return wide.sum((1, 2)) + lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID").sum(
            (1, 2)
        )

    given = jax.tree_util.Partial(pools)
    for mine, theirs in zip(*jax.jit(lambda x: (answers(Rewritten(given), x), answers(given, x)))(tied), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_nothing_is_rewritten_where_plain_operations_are_asked_for(monkeypatch):
    given = jax.tree_util.Partial(lambda w, x: everything(w, x)["logits"], WEIGHTS)
    theirs = str(jax.make_jaxpr(given)(X))
    assert str(jax.make_jaxpr(Rewritten(given))(X)) != theirs
    with reference_operations():
        assert str(jax.make_jaxpr(Rewritten(given))(X)) == theirs
    monkeypatch.setenv("ADVBENCH_NATIVE", "0")
    assert not rewrite.enabled()
    assert str(jax.make_jaxpr(Rewritten(given))(X)) == theirs
