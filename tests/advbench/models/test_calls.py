"""Models of other JAX libraries: what they are called with, or the call to write.

Haiku's functions and Equinox's modules are stood in for by ones of the same signatures.
"""

import sys
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from advbench.core.errors import UsageError
from advbench.models.adapt import adapt

X = jax.random.uniform(jax.random.key(0), (2, 4, 4, 1))


class Needs(linen.Module):
    @linen.compact
    def __call__(self, images, train):
        return linen.Dense(3)(images.reshape(len(images), -1))


class Defaults(linen.Module):
    @linen.compact
    def __call__(self, images, train=True):
        return linen.Dropout(0.5, deterministic=not train)(linen.Dense(3)(images.reshape(len(images), -1)))


class Plain(nnx.Module):
    def __call__(self, images, *, train):
        return images.reshape(len(images), -1)


class Transformed(NamedTuple):
    init: object
    apply: object


def init_fn(rng, *args, **kwargs):
    return {"w": jnp.ones((16, 3))}


def apply_fn(params, rng, *args, **kwargs):
    return args[0].reshape(len(args[0]), -1) @ params["w"]


def apply_with_state(params, state, rng, *args, **kwargs):
    return apply_fn(params, rng, *args), state


def apply_in_training(params, state, rng, x, is_training):
    return apply_fn(params, rng, x), state


@pytest.fixture
def module(monkeypatch):
    """A class of Equinox's kind: a pytree that holds functions too, and takes one image [C, H, W]."""
    equinox = ModuleType("equinox")

    class Module:
        pass

    equinox.Module = Module
    monkeypatch.setitem(sys.modules, "equinox", equinox)

    @jax.tree_util.register_pytree_node_class
    class Net(Module):
        def __init__(self, weights, activation):
            self.weights, self.activation = weights, activation

        def tree_flatten(self):
            return (self.weights, self.activation), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

        def __call__(self, x, key=None):
            return self.activation(x.reshape(self.weights.shape[0]) @ self.weights)

    return Net


def variables(net, **more):
    return net.init(jax.random.key(0), X, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: (Needs(), variables(Needs(), train=False)),
            "needs train too: return (lambda variables, images: net.apply(variables, images, train=False), variables)",
        ),
        (lambda: (Needs().apply, {}), "net.apply(variables, images, train=False)"),
        (Needs, "a Flax Linen module without its variables: return (net, variables)"),
        (Plain, "needs train too: call net.eval(), and return lambda images: net(images, train=False)"),
        (lambda: lambda images, training: images, "return lambda images: net(images, training=False)"),
        (
            lambda: (lambda params, images, deterministic, key: images, {}),
            "return (lambda params, images: apply(params, images, deterministic=True, key=...), params)",
        ),
        (
            lambda: Transformed(init_fn, apply_fn),
            "return (lambda params, images: net.apply(params, None, images), params)",
        ),
        (
            lambda: Transformed(init_fn, apply_with_state),
            "return (lambda params, images: net.apply(params, state, None, images)[0], params)",
        ),
        (lambda: (apply_fn, {}), "return (lambda params, images: apply(params, None, images), params)"),
        (
            lambda: (lambda params, state, images: (images, state), {}),
            "return (lambda params, images: apply(params, state, images)[0], params)",
        ),
        (
            lambda: (apply_with_state, {}),
            "return (lambda params, images: apply(params, state, None, images)[0], params)",
        ),
        (
            lambda: (apply_in_training, {}),
            "return (lambda params, images: apply(params, state, None, images, is_training=False)[0], params)",
        ),
        (
            lambda: (apply_with_state, {}, {}),
            "return (lambda params, images: apply(params, state, None, images)[0], params)",
        ),
    ],
)
def test_what_can_not_be_called_on_images_names_the_call_to_write(make, message):
    with pytest.raises(UsageError) as caught:
        adapt(make(), "net.py:make")
    assert message in str(caught.value)
    assert str(caught.value).startswith("net.py:make returned ")


def test_the_call_that_is_named_works():
    net = Needs()
    held = variables(net, train=False)
    model = adapt((lambda variables, images: net.apply(variables, images, train=False), held), "s").predict
    np.testing.assert_array_equal(model(X), net.apply(held, X, train=False))
    model = adapt((lambda params, images: apply_fn(params, None, images), init_fn(None)), "s").predict
    np.testing.assert_allclose(model(X), X.reshape(2, 16) @ jnp.ones((16, 3)), rtol=1e-6)


def test_a_linen_module_in_training_mode_by_default_names_the_call_where_it_fails():
    net = Defaults()
    held = variables(net, train=False)
    with pytest.raises(
        UsageError, match=r"the model failed: .*; return .*net\.apply\(variables, images, train=False\)"
    ):
        adapt((net, held), "s").predict(X)


def test_an_equinox_module_is_told_to_be_called_image_by_image(module):
    class Stateful(module):
        def __call__(self, x, state, *, key=None):
            return super().__call__(x, key), state

    net, stateful = (kind(jnp.ones((16, 3)), jax.nn.relu) for kind in (module, Stateful))
    for made, call in (
        (net, "lambda x: eqx.nn.inference_mode(net)(x, key=None)"),
        (stateful, "lambda x: eqx.nn.inference_mode(net)(x, state, key=None)[0]"),
    ):
        with pytest.raises(UsageError) as caught:
            adapt(made, "s").predict(X)
        assert f"takes one image [C, H, W]: return lambda images: jax.vmap({call})" in str(caught.value)
    with pytest.raises(UsageError, match=r"an Equinox module and its state: .*\(x, state, key=None\)\[0\]"):
        adapt((stateful, {}), "s")
    model = adapt(lambda images: jax.vmap(net)(images.transpose(0, 3, 1, 2)), "s").predict
    assert model(X).shape == (2, 3)


def test_an_equinox_module_of_whole_batches_goes_into_a_program_though_it_holds_functions(module):
    class Batched(module):
        def __call__(self, images):
            return self.activation(images.reshape(len(images), -1) @ self.weights)

    jax.tree_util.register_pytree_node_class(Batched)
    model = adapt(Batched(jnp.ones((16, 3)), jax.nn.relu), "s").predict
    np.testing.assert_allclose(
        jax.jit(lambda model, x: model(x))(model, X), X.reshape(2, 16) @ jnp.ones((16, 3)), rtol=1e-6
    )
    assert [leaf.shape for leaf in jax.tree.leaves(model)] == [(16, 3)]
