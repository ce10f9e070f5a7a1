"""Models that are attacked through a faster one: held against the one that was given, and recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import advbench
from advbench.evaluation import Result
from advbench.models.acceleration import accelerated
from advbench.models.agreement import difference
from advbench.models.memory import of_object
from advbench.nn import rewrite

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU are operators replaced")

IMAGES = np.random.default_rng(0).uniform(size=(6, 6, 6, 3)).astype(np.float32)
KERNEL, OUT = (jax.random.normal(jax.random.key(k), s) for k, s in ((0, (3, 3, 3, 8)), (1, (8, 3))))


def net(x):
    y = jax.lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(y).mean((1, 2)) @ OUT


def test_the_result_says_that_a_model_was_rewritten():
    labels = np.asarray(net(IMAGES)).argmax(1)
    result = advbench.evaluate(
        net, (IMAGES, labels), norm="linf", eps=0.5, attacks="fgsm", preflight=False, allow_extra_outputs=True
    )
    told = result.model.execution
    assert (told.attacked, told.convolutions, told.pools, told.reason) == ("rewritten", 1, 0, None)
    assert told.logits <= 1e-5
    assert told.gradients <= 1e-4
    assert Result.from_json(result.to_json()) == result


def test_a_model_without_convolutions_is_left_in_peace():
    model = of_object(lambda x: x.mean((1, 2)))
    assert accelerated(model, IMAGES, pytest.fail) is model


@pytest.mark.parametrize("broken", ["wrong", "raises"])
def test_a_model_that_is_not_the_same_is_attacked_as_given_and_one_line_says_why(monkeypatch, broken):
    right = rewrite._convolution

    def wrong(*arguments):
        if broken == "raises":
            raise ValueError("no\nsuch kernel")
        return 1.001 * right(*arguments)

    monkeypatch.setattr(rewrite, "_convolution", wrong)
    told, model = [], of_object(net)
    found = accelerated(model, IMAGES, told.append)
    assert found.predict is model.predict
    assert (found.execution.attacked, found.execution.convolutions) == ("as given", 0)
    (line,) = told
    assert line == f"net: attacked as given, not rewritten: {found.execution.reason}"
    assert ("ValueError: no such kernel" if broken == "raises" else "logits differ by 0.0") in line


def test_gradients_are_compared_too():
    @jax.custom_jvp
    def other(x):
        return net(x)

    other.defjvp(lambda x, dx: (net(*x), 1.01 * jax.jvp(net, x, dx)[1]))
    given, bent = jax.tree_util.Partial(net), jax.tree_util.Partial(other)
    off = difference(given, bent, IMAGES)
    assert off.logits == 0
    assert off.gradients == pytest.approx(0.01, rel=1e-3)
    assert "input gradients differ by 0.01" in off.reason
    assert difference(given, given, IMAGES).reason is None


def test_what_is_not_a_number_must_not_be_one_in_both():
    given = jax.tree_util.Partial(lambda x: jnp.where(x.mean((1, 2)) > 0.5, jnp.nan, x.mean((1, 2))))
    finite = jax.tree_util.Partial(lambda x: x.mean((1, 2)))
    assert difference(given, given, IMAGES).reason is None
    assert difference(given, finite, IMAGES).reason is not None
