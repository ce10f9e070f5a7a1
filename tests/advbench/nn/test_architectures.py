"""The networks of the papers: parameters to the last one, shapes, training and evaluation modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.core.errors import UsageError
from advbench.nn import MODELS, create
from advbench.nn.frozen import freeze

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)


def parameters(name, shape):
    module = nnx.eval_shape(lambda: create(name, shape=shape, classes=10, seed=0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("mlp", MNIST, 784 * 256 + 256 + 256 * 128 + 128 + 1290),
        ("small-cnn", MNIST, 312_202),
        ("wong-cnn", MNIST, 166_406),
        ("madry-cnn", MNIST, 3_274_634),
        ("resnet20", CIFAR, 269_722),
        ("preact-resnet18", CIFAR, 11_172_170),
        ("wrn-28-10", CIFAR, 36_479_194),
        ("wrn-34-10", CIFAR, 46_160_474),
        ("wrn-34-10-silu", CIFAR, 46_160_474),
    ],
)
def test_as_many_parameters_as_published(name, shape, count):
    assert parameters(name, shape) == count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [MNIST, CIFAR])
def test_every_network_takes_either_shape(name, shape):
    if name.startswith(("resnet20", "preact", "wrn")):  # shapes alone: nothing is computed
        out = nnx.eval_shape(lambda: create(name, shape=shape, classes=7, seed=0)(jnp.zeros((2, *shape))))
    else:
        out = freeze(create(name, shape=shape, classes=7, seed=0))(jnp.zeros((2, *shape)))
        assert jnp.isfinite(out).all()
    assert out.shape == (2, 7)
    assert out.dtype == jnp.float32


def test_seed_fixes_the_weights():
    def leaves(seed):
        return jax.tree.leaves(nnx.state(create("mlp", shape=(4, 4, 1), classes=3, seed=seed), nnx.Param))

    for a, b in zip(leaves(1), leaves(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(leaves(1), leaves(2), strict=True))


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'small-cnn'"):
        create("smal-cnn", shape=MNIST, classes=10, seed=0)


def test_image_too_small_for_the_network_is_one_clear_line():
    with pytest.raises(UsageError, match="16 x 16"):
        create("small-cnn", shape=(15, 16, 1), classes=10, seed=0)


def test_normalisation_is_no_parameter_and_undoes_the_data_set():
    module = create("mlp", shape=(2, 2, 3), classes=3, seed=0)
    assert not any("normalize" in str(path) for path, _ in nnx.to_flat_state(nnx.state(module)))
    grey = jnp.asarray([0.4914, 0.4822, 0.4465]) * jnp.ones((1, 2, 2, 1))
    np.testing.assert_allclose(module.normalize(grey), 0.0, atol=1e-7)


def test_dropout_is_off_when_frozen_and_on_in_training():
    module = create("small-cnn", shape=(16, 16, 1), classes=4, seed=0)
    module.fc3.kernel[...] = jnp.ones((200, 4))  # It begins at zero, which would hide everything.
    x = jax.random.uniform(jax.random.key(0), (3, 16, 16, 1))
    predict = freeze(module)
    np.testing.assert_array_equal(predict(x), predict(x))
    assert (module(x) != module(x)).any()


def test_frozen_batch_norm_uses_its_statistics_and_training_moves_them():
    module = create("resnet8", shape=(8, 8, 3), classes=4, seed=0)
    x = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))
    before, at_start = freeze(module), freeze(module)(x)
    np.testing.assert_allclose(before(x[:1]), at_start[:1], rtol=1e-5, atol=1e-6)
    module(x)
    np.testing.assert_array_equal(before(x), at_start)
    assert (freeze(module)(x) != at_start).any()
    mean = nnx.state(module, nnx.BatchStat)["norm"]["mean"][...]
    raw = module.conv(module.normalize(x)).mean((0, 1, 2))
    np.testing.assert_allclose(mean, 0.1 * raw, rtol=1e-3, atol=1e-6)


def test_frozen_model_is_a_jit_argument_that_never_recompiles_for_new_weights():
    traced = []

    @jax.jit
    def run(model, x):
        traced.append(1)
        return model(x)

    x = jnp.ones((2, 4, 4, 1))
    outs = [run(freeze(create("mlp", shape=(4, 4, 1), classes=3, seed=seed)), x) for seed in range(3)]
    assert len(traced) == 1
    assert (outs[0] != outs[1]).any()


@pytest.mark.parametrize("name", ["small-cnn", "resnet8"])
def test_trains_under_jit_with_split_and_merge(name):
    module = create(name, shape=(16, 16, 1), classes=2, seed=0)
    x = jax.random.uniform(jax.random.key(0), (16, 16, 16, 1)).at[8:].multiply(0.2)
    y = jnp.arange(16) // 8
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params, rest):
        net = nnx.merge(graph, params, rest, copy=True)
        logits = net(x)
        return -jax.nn.log_softmax(logits)[jnp.arange(16), y].mean(), nnx.split(net, nnx.Param, ...)[2]

    @jax.jit
    def step(params, rest):
        (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params, rest)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), rest, value

    values = []
    for _ in range(30):
        params, rest, value = step(params, rest)
        values.append(float(value))
    assert values[-1] < 0.6 * values[0]


def test_option_a_shortcut_skips_pixels_and_pads_channels():
    from advbench.nn.resnet import _Block

    block = _Block(2, 4, 2, rngs=nnx.Rngs(0))
    block.conv2.kernel[...] = jnp.zeros_like(block.conv2.kernel[...])
    x = jax.random.uniform(jax.random.key(0), (1, 4, 4, 2))
    y = block(x)
    np.testing.assert_array_equal(y[..., 1:3], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., jnp.asarray([0, 3])], 0.0)
