"""Honest models pass; each spoiled one raises the flag that names its fault."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.data import load
from advbench.nn.frozen import freeze
from advbench.preflight import CHECKS, examine
from advbench.preflight.classes import near_chance
from advbench.preflight.made import NotMade, not_made
from tests.oracles import EPS, load_oracle

SHAPE, CLASSES = (6, 6, 2), 5
WEIGHTS = np.random.default_rng(1).standard_normal((72, CLASSES)).astype(np.float32)
IMAGES = np.random.default_rng(0).uniform(size=(32, *SHAPE)).astype(np.float32)


class Net(nnx.Module):
    """Dense, batch norm, ReLU, dropout, dense."""

    def __init__(self, *, norm=False, drop=0.0):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(72, 32, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs) if norm else None
        self.drop = nnx.Dropout(drop, rngs=rngs)
        self.last = nnx.Linear(32, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = self.first(4 * x.reshape(len(x), -1) - 2)
        return self.last(self.drop(nnx.relu(x if self.norm is None else self.norm(x))))


def linear(x):
    return (x - 0.5).reshape(len(x), -1) @ WEIGHTS


HONEST = {
    "linear": Partial(linear),
    "mlp": freeze(Net()),
    "batch norm and dropout in evaluation mode": freeze(Net(norm=True, drop=0.5)),
    "small logits": Partial(lambda x: 1e-3 * linear(x)),
}


def in_training_mode(net):
    """What `freeze` would give if it forgot to switch: pure, but batch statistics and dropout are live."""
    graph, state = nnx.split(net)
    leaves, tree = jax.tree.flatten(state)
    return Partial(lambda leaves, x: nnx.merge(graph, jax.tree.unflatten(tree, leaves))(x), leaves)


def loaded(predict, **known):
    return LoadedModel("tiny", predict, **({"shape": None, "classes": None} | known), dataset=None, digest="0")


def truth(predict):
    """Labels that the model gets right, so that accuracy raises no flag of its own."""
    logits = np.asarray(predict(jnp.asarray(IMAGES)))
    return np.nan_to_num(logits).argmax(-1).astype(np.int32)


def flags(predict, images=IMAGES, labels=None, **settings):
    settings = {"classes": CLASSES} | settings
    found = examine(loaded(predict), images, truth(predict) if labels is None else labels, **settings)
    assert {flag.name for flag in found} <= {*CHECKS, "checks_not_made"}
    assert set(not_made(found)) <= set(CHECKS) - {flag.name for flag in found}
    assert all("\n" not in flag.message for flag in found)
    return {flag.name: flag for flag in found}


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_raise_nothing(name):
    assert flags(HONEST[name]) == {}


@pytest.mark.parametrize("name", EPS)
def test_networks_of_known_robustness_are_not_called_invalid(name):
    predict = load_oracle(name).predict
    test = load("mnist" if name.startswith("mnist") else "cifar10", "test")
    images, labels = test.images[:128].astype(np.float32) / 255, test.labels[:128]
    assert {flag.level for flag in flags(predict, images, labels, classes=10).values()} <= {"note"}


def nan_for_one(x):
    return jnp.where((x[:, :1, 0, 0] == IMAGES[7, 0, 0, 0]), jnp.nan, linear(x))


def noise_of_the_host(x):
    return linear(x + jnp.asarray(np.random.default_rng().normal(0, 0.1, x.shape), jnp.float32))


@jax.custom_jvp
def noise_at_every_call(x):
    draw = lambda x: np.random.default_rng().normal(0, 0.1, x.shape).astype(np.float32)  # noqa: E731
    return x + jax.pure_callback(draw, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


noise_at_every_call.defjvp(lambda x, dx: (noise_at_every_call(*x), *dx))


def noise_by_place(x):
    return linear(x + 0.1 * jnp.sin(jnp.arange(x.size).reshape(x.shape)))


def own_batch_statistics(x):
    return linear((x - x.mean(0)) / (x.std(0) + 1e-3) + 0.5)


SPOILED = {
    "NaN for one image": (nan_for_one, "nonfinite_outputs", "invalid"),
    "infinite logits": (lambda x: linear(x).at[:, 0].set(-jnp.inf), "nonfinite_outputs", "invalid"),
    "softmax": (lambda x: jax.nn.softmax(linear(x)), "probabilities", "invalid"),
    "log-softmax": (lambda x: jax.nn.log_softmax(linear(x)), "log_probabilities", "note"),
    "half precision": (lambda x: linear(x).astype(jnp.bfloat16), "low_precision", "note"),
    "noise of the host": (noise_of_the_host, "random_outputs", "invalid"),
    "noise at every call": (lambda x: linear(noise_at_every_call(x)), "random_outputs", "invalid"),
    "noise by place in the batch": (noise_by_place, "batch_dependent", "invalid"),
    "statistics of the batch": (own_batch_statistics, "batch_dependent", "invalid"),
    "nnx batch norm in training mode": (in_training_mode(Net(norm=True)), "batch_dependent", "invalid"),
    "nnx dropout on": (in_training_mode(Net(drop=0.5)), "batch_dependent", "invalid"),
    "constant": (lambda x: jnp.broadcast_to(jnp.arange(5.0), (len(x), 5)), "constant_outputs", "invalid"),
    "no gradient let through": (lambda x: linear(jax.lax.stop_gradient(x)), "zero_gradients", "invalid"),
    "input in 8 levels": (lambda x: linear(jnp.round(x * 7) / 7), "zero_gradients", "invalid"),
    "infinite slope": (lambda x: linear(jnp.sqrt(jnp.maximum(x - 2, 0)) + x), "no_gradient", "invalid"),
    "logits times 1,000": (lambda x: 1e3 * linear(x), "saturated", "note"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_model_raises_its_flag(name):
    predict, flag, level = SPOILED[name]
    found = flags(predict if isinstance(predict, Partial) else Partial(predict))
    assert found[flag].level == level


@pytest.mark.parametrize("name", ["log-softmax", "half precision", "logits times 1,000"])
def test_a_note_alone_leaves_a_model_valid(name):
    assert {flag.level for flag in flags(Partial(SPOILED[name][0])).values()} == {"note"}


def test_a_model_without_derivative_is_invalid():
    host = lambda x: np.asarray(x).reshape(len(x), -1)[:, :CLASSES]  # noqa: E731
    predict = Partial(lambda x: jax.pure_callback(host, jax.ShapeDtypeStruct((len(x), CLASSES), x.dtype), x))
    assert "differentiated" in flags(predict)["no_gradient"].message


def test_a_few_dead_images_are_only_noted():
    dead = Partial(lambda x: jnp.where(x[:, :1, 0, 0] == IMAGES[7, 0, 0, 0], jnp.arange(5.0), linear(x)))
    found = flags(dead)
    assert found["zero_gradients"].level == "note"
    assert found["zero_gradients"].evidence == {"images": 1, "n": 32}


def test_a_note_tells_which_checks_a_finding_kept_from_being_made():
    found = flags(Partial(lambda x: linear(x) + jnp.nan))
    assert set(not_made(found.values())) == {"probabilities", "log_probabilities", "constant_outputs"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_told_from_the_network_though_its_logits_become_float32(dtype):
    model = loaded(Partial(lambda x: linear(x).astype(dtype)))
    assert model.predict(IMAGES).dtype == jnp.float32
    (flag,) = examine(model, IMAGES, truth(model.predict), classes=CLASSES)
    assert (flag.name, flag.evidence["dtype"]) == ("low_precision", dtype)


def features(x):
    """As many outputs as pixels, of which none is a class; labels are right by no more than chance."""
    return x.reshape(len(x), -1)


def test_more_outputs_than_classes_are_invalid_unless_they_are_meant():
    labels = np.arange(32) % CLASSES
    found = flags(Partial(features), labels=labels)
    assert (found["extra_outputs"].level, found["extra_outputs"].evidence) == ("invalid", {"outputs": 72, "classes": 5})
    assert found["near_chance"].evidence["chance"] == 1 / CLASSES  # not 1 over the outputs, nor skipped
    allowed = flags(Partial(features), labels=labels, allow_extra_outputs=True)
    assert allowed["extra_outputs"].level == "note"
    assert allowed["near_chance"].evidence["chance"] == 1 / CLASSES


def test_what_the_data_has_is_not_guessed():
    found = examine(loaded(HONEST["linear"]), IMAGES, truth(HONEST["linear"]))
    assert set(not_made(found)) == {"extra_outputs"}


def test_too_few_outputs_are_refused_though_all_labels_here_have_one():
    with pytest.raises(UsageError, match=r"6 classes.* 5 logits"):
        examine(loaded(HONEST["linear"]), IMAGES, truth(HONEST["linear"]), classes=6)


@pytest.mark.parametrize(
    ("right", "n", "verdict"),
    [
        (2, 2, None),
        (1, 1, "not made"),
        (1, 5, "not made"),
        (0, 5, "near_chance"),
        (16, 128, "near_chance"),
        (30, 128, None),
    ],
)
def test_chance_is_told_apart_or_it_is_said_that_it_cannot_be(right, n, verdict):
    found = near_chance(right, n, 10, "")
    assert (None if found is None else "not made" if isinstance(found, NotMade) else found.name) == verdict


def test_labels_in_another_order_are_near_chance():
    labels = (truth(HONEST["linear"]) + 1) % CLASSES
    found = flags(HONEST["linear"], labels=labels)
    assert found["near_chance"].level == "note"
    assert found["near_chance"].evidence["accuracy"] == 0


@pytest.mark.parametrize(
    ("made_for", "name"),
    [
        (lambda x: x / 255, "pixels in [0, 255]"),
        (lambda x: (x + 1) / 2, "pixels in [-1, 1]"),
        (lambda x: 1 - x, "inverted pixels"),
        (lambda x: x.swapaxes(1, 2), "height and width exchanged"),
        (lambda x: x[..., ::-1], "channels in reverse order"),
    ],
)
def test_a_model_made_for_other_pixels_is_told_which(made_for, name):
    bias = jnp.arange(5.0)  # so that a scale matters to a linear model
    labels = (linear(jnp.asarray(IMAGES)) + bias).argmax(-1)
    found = flags(Partial(lambda x: linear(made_for(x)) + bias), labels=np.asarray(labels))
    assert found["other_input"].level == "note"
    assert found["other_input"].evidence["other"] == name
    assert found["other_input"].evidence["as_other"] == 32


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((255 * IMAGES).astype(np.uint8), "divide by 255"),
        (255 * IMAGES, "divide by 255"),
        (3 * IMAGES - 1, "normalisation belongs inside"),
        (IMAGES[0], "should have shape [n, H, W, C]"),
        (IMAGES[:0], "n at least 1"),
        (np.where(IMAGES > 0.99, np.nan, IMAGES), "NaN or infinite"),
    ],
    ids=["uint8", "0..255", "normalised", "one image", "none", "nan"],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(UsageError) as refused:
        examine(loaded(HONEST["linear"]), images, np.zeros(len(images), int))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "labels",
    [np.full(32, 5), np.full(32, -1), np.zeros(31, int), np.zeros(32), np.eye(5, dtype=int)[np.zeros(32, int)]],
    ids=["too large", "negative", "too few", "floats", "one-hot"],
)
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(UsageError, match="labels") as refused:
        examine(loaded(HONEST["linear"]), IMAGES, labels)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x: linear(x)[:, :, None] + jnp.arange(2), "should return logits [B, K]"),
        (lambda x: linear(x)[:, :1], "K at least 2"),
        (lambda x: linear(x).T, "should return logits"),
        (lambda x: linear(x).sum(), "should return logits"),
        (lambda x: (linear(x), 2 * linear(x)), "several outputs (0 [2, 5], 1 [2, 5]): name"),
        (lambda x: "logits", "logits [B, K], not str"),
        (lambda x: linear(x).argmax(-1)[:, None] + jnp.arange(2), "float logits"),
        (lambda x: x.reshape(len(x), -1) @ jnp.ones((784, 10)), "can't be called on images [6, 6, 2]"),
        (lambda x: np.asarray(x).reshape(len(x), -1), "can't be called"),
    ],
    ids=["extra axis", "one logit", "transposed", "scalar", "pair", "text", "integers", "other images", "not jax"],
)
def test_outputs_of_a_wrong_shape_are_refused(predict, message):
    with pytest.raises(UsageError) as refused:
        examine(loaded(Partial(predict)), IMAGES, np.zeros(32, int))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("known", "message"), [({"shape": (28, 28, 1)}, "takes images"), ({"classes": 10}, "classes")])
def test_what_the_model_says_of_itself_is_held_against_it(known, message):
    with pytest.raises(UsageError, match=message):
        examine(loaded(HONEST["linear"], **known), IMAGES, np.zeros(32, int))


def test_findings_do_not_depend_on_the_batch_size():
    predict = Partial(SPOILED["NaN for one image"][0])
    sizes = [flags(predict, batch_size=size)["nonfinite_outputs"].evidence for size in (7, 32, 64)]
    assert sizes == [{"images": 1, "n": 32, "first": 7}] * 3


def test_one_image_is_enough():
    found = flags(HONEST["linear"], IMAGES[:1], truth(HONEST["linear"])[:1])
    assert set(found) == {"checks_not_made"}
    assert set(not_made(found.values())) == {"near_chance", "constant_outputs"}
    assert "batch_dependent" in flags(Partial(own_batch_statistics), IMAGES[:1], np.zeros(1, int))
