"""Honest models are never called invalid; each way of hiding gradients raises its flag."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from advbench.attacks import NORMS, Threat
from advbench.attacks.spec import AttackSpec
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation import evaluate, verify
from advbench.preflight import examine
from advbench.preflight.made import not_made
from advbench.preflight.masking import (
    ASKED,
    CHECKS,
    FULL,
    examine_masking,
    signs,
)
from advbench.preflight.masking.binarization import readout
from advbench.preflight.masking.examine import ANYWHERE
from advbench.preflight.masking.guard import level, missed

SHAPE, CLASSES, N, EPS = (5, 5, 1), 4, 240, "20/255"
IMAGES = np.random.default_rng(6).integers(0, 256, (N, *SHAPE)).astype(np.float32) / 255
RNG = np.random.default_rng(5)
WEIGHTS = tuple(jnp.asarray(RNG.normal(size=size), jnp.float32) for size in ((25, 12), (12, CLASSES)))
FEATURES = tuple(jnp.asarray(RNG.normal(size=size), jnp.float32) for size in ((25, 60), (60, CLASSES)))


def network(w, x):
    return jnp.tanh((x.reshape(len(x), -1) - 0.5) @ w[0]) @ w[1]


def ripples(w, x):
    """Steep ripples over the input, which turn the slope and hardly move the output."""
    return network(w, x + 0.01 * jnp.sin(2000 * x))


def winners(w, x):
    """The largest of many random features survive (k-winners-take-all; Xiao et al. 2020, arXiv 1905.10510)."""
    h = (x.reshape(len(x), -1) - 0.5) @ FEATURES[0]
    kept = jnp.where((h[:, None] > h[:, :, None]).sum(-1) < 6, h, 0.0)
    return kept @ FEATURES[1]


def on_the_grid(w, x):
    """A slope at pixels that are multiples of 1/255 only, as all clean ones are."""
    near = jnp.abs(255 * x - jnp.round(255 * x)) < 1e-2
    return network(w, jnp.where(near, x, jax.lax.stop_gradient(x)))


def noisy(w, x):
    """Noise that follows from the image's own pixels, so that it passes for deterministic."""
    return network(w, x + jax.lax.stop_gradient(0.1 * jnp.sin(1e5 * x)))


def reversed_slope(w, x):
    """The same answers, and gradients that lead away from every adversarial image."""
    return network(w, 2 * jax.lax.stop_gradient(x) - x)


HONEST = {
    "tanh": network,
    "relu": lambda w, x: jax.nn.relu((x.reshape(len(x), -1) - 0.5) @ w[0]) @ w[1],
    "small logits": lambda w, x: 1e-3 * network(w, x),
}
HIDING = {
    "input in 8 levels": (lambda w, x: network(w, jnp.round(7 * x) / 7), "black_box_beats_gradients", "invalid"),
    "a reversed slope": (reversed_slope, "random_beats_gradients", None),
    "thresholded input": (lambda w, x: network(w, (x > 0.5) * 1.0), "unbounded_attack_fails", "invalid"),
    "ripples": (ripples, "black_box_beats_gradients", "invalid"),
    "winners take all": (winners, "black_box_beats_gradients", None),
    "noise": (noisy, "unstable_predictions", "note"),
    "a slope on the grid only": (on_the_grid, "unavailable_gradients", "invalid"),
    "logits times 1,000": (lambda w, x: 1e3 * network(w, x), "saturated_loss", "note"),
    "softmax, saturated": (lambda w, x: jax.nn.softmax(50 * network(w, x)), "unavailable_gradients", "invalid"),
}


KINDS = [*HONEST.values(), *(predict for predict, _, _ in HIDING.values())]


def any_kind(w, kind, x):
    """One program for all, so that nothing is compiled twice."""
    return jax.lax.switch(kind, KINDS, w, x)


def loaded(predict):
    known = predict in KINDS
    model = Partial(any_kind, WEIGHTS, jnp.int32(KINDS.index(predict))) if known else Partial(predict, WEIGHTS)
    return LoadedModel("tiny", model, SHAPE, CLASSES, None, "0")


def found(predict, *, eps=EPS, norm="linf", images=IMAGES, **settings):
    labels = np.asarray(jax.jit(predict)(WEIGHTS, images)).argmax(1)
    threat = ThreatSpec.parse(norm, eps)
    settings = {"seed": 0, "batch_size": 64} | settings
    return {flag.name: flag for flag in examine_masking(loaded(predict), images, labels, threat, **settings)}


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_are_not_called_invalid(name):
    assert [flag for flag in found(HONEST[name]).values() if flag.level == "invalid"] == []


@pytest.mark.parametrize("name", HIDING)
def test_a_model_that_hides_its_gradients_raises_its_flag(name):
    predict, flag, level = HIDING[name]
    flags = found(predict)
    assert flag in flags, flags
    assert flags[flag].level == level or level is None  # of what barely hides, a note suffices
    assert all("\n" not in f.message for f in flags.values())
    assert all(f.evidence["n"] <= 64 for f in flags.values() if f.name != "checks_not_made")
    assert not flags.keys() & not_made(flags.values()).keys()


def test_everything_passes_an_honest_model_and_binarization_fails_a_quantised_one():
    assert [flag for flag in found(network, full=True).values() if flag.level == "invalid"] == []
    flags = found(HIDING["input in 8 levels"][0], full=True)
    assert flags["binarization_test_fails"].evidence["success"] < 0.5
    assert flags["binarization_test_fails"].level == "invalid"


def test_images_made_on_an_imitation_break_a_model_whose_gradients_mislead():
    assert "transfer_beats_gradients" not in found(network, full=True)
    flag = found(reversed_slope, full=True)["transfer_beats_gradients"]
    assert flag.level == "invalid"
    assert flag.evidence["trained_on"] == N - flag.evidence["n"]


def test_saturation_is_a_verdict_only_where_no_attack_is_free_of_scale():
    predict = HIDING["logits times 1,000"][0]
    assert found(predict, scale_free=False)["saturated_loss"].level == "invalid"
    assert found(network, scale_free=False) == found(network)


@pytest.mark.parametrize(("norm", "eps"), [("linf", "0"), ("l0", "3"), ("any", "1")])
def test_without_a_ball_for_gradients_only_the_unbounded_attack_is_tried(norm, eps):
    flags = found(network, norm=norm, eps=eps)
    assert set(flags) == {"checks_not_made"}
    assert set(not_made(flags.values())) == set(CHECKS) - set(ANYWHERE)
    assert "unbounded_attack_fails" in found(HIDING["thresholded input"][0], norm=norm, eps=eps)


def test_a_model_without_derivative_and_one_that_is_never_right():
    host = lambda x: np.asarray(x).reshape(len(x), -1)[:, :CLASSES]  # noqa: E731
    predict = lambda w, x: jax.pure_callback(host, jax.ShapeDtypeStruct((len(x), CLASSES), x.dtype), x)  # noqa: E731
    flags = found(predict)
    assert "differentiated" in flags["unavailable_gradients"].message
    assert set(not_made(flags.values())) == set(CHECKS) - {"unavailable_gradients"}
    wrong = (np.asarray(network(WEIGHTS, IMAGES)).argmax(1) + 1) % CLASSES
    threat = ThreatSpec.parse("linf", EPS)
    flags = examine_masking(loaded(network), IMAGES, wrong, threat, seed=0, batch_size=64)
    assert ([flag.level for flag in flags], set(not_made(flags))) == (["note"], set(CHECKS))


def test_what_the_doctor_sees_it_calls_invalid():
    moments = lambda w, x: network(w, (x - x.mean(0)) / (x.std(0) + 1e-3) + 0.5)  # noqa: E731
    labels = np.asarray(moments(WEIGHTS, IMAGES)).argmax(1)
    assert {f.name: f.level for f in examine(loaded(moments), IMAGES, labels)}["batch_dependent"] == "invalid"


def test_a_larger_ball_that_breaks_less_is_flagged():
    fell, few = np.arange(64) < 40, np.arange(64) < 20
    probe = SimpleNamespace(rescaled=fell, farther=lambda rows: few, threat=Threat(NORMS["linf"], 0.1))
    assert signs.larger_eps_breaks_less(probe).level == "invalid"
    probe.rescaled, probe.farther = few, lambda rows: fell
    assert signs.larger_eps_breaks_less(probe) is None


def test_many_steps_that_break_less_than_one_are_flagged():
    fell, few = np.arange(64) < 40, np.arange(64) < 20
    assert signs.single_step_beats_iterative(SimpleNamespace(single=fell, iterated=(few,))).level == "invalid"
    assert signs.single_step_beats_iterative(SimpleNamespace(single=few, iterated=(fell,))) is None


def test_a_verdict_needs_more_than_a_few_images_and_more_than_luck():
    assert [level(count, 64) for count in (1, 2, 7, 8)] == [None, "note", "note", "invalid"]
    assert level(13, 200) == "note"  # 6.5 % seen; 3.5 % is within the interval
    assert level(4, 8) == "note"
    none, some = np.zeros(64, bool), np.arange(64) < 30
    assert missed("x", none, some, message="") is None
    flag = missed("x", some, none, message="{count} of {n}")
    assert (flag.level, flag.message, flag.evidence["missed"]) == ("invalid", "30 of 64", 30)
    assert missed("x", some, none, message="", most="note").level == "note"


def test_an_attack_runs_on_the_images_that_can_still_make_a_finding():
    some, asked = np.arange(64) < 30, []

    def attack(rows):
        asked.append(rows.copy())
        return rows & (np.arange(64) < 20)

    assert missed("x", some, attack, message="").evidence["missed"] == 10
    assert (asked[0] == some).all()
    assert asked[1].all()  # the evidence is that of all images
    del asked[:]
    assert missed("x", attack, some, message="") is None  # of the other 34 it breaks none
    assert [rows.sum() for rows in asked] == [34]
    assert missed("x", np.arange(64) < 1, attack, message="") is None
    assert len(asked) == 1  # one image makes no finding, whatever the attack breaks


def test_the_readout_parts_the_edge_from_the_inner_points():
    rng = np.random.default_rng(0)
    inner, edge = rng.normal(size=(20, 30, 4)), 8 * rng.normal(size=(20, 4))
    edge[3] = inner[3].mean(0)
    weights, bias, separable = readout(inner, edge)
    assert not separable[3]
    assert separable.sum() > 10
    assert ((edge * weights).sum(1) + bias > 0)[separable].all()
    assert ((np.einsum("nmi,ni->nm", inner, weights) + bias[:, None]).max(1) < 0)[separable].all()


def test_every_check_says_what_it_asks():
    assert set(ASKED) == set(CHECKS | FULL)


def test_a_result_with_such_a_flag_ends_with_3_and_verifies(tmp_path):
    model, threat = loaded(network), ThreatSpec.parse("linf", EPS)
    uint8 = np.round(255 * IMAGES).astype(np.uint8)
    labels = np.asarray(network(WEIGHTS, IMAGES)).argmax(1).astype(np.int32)
    data = Dataset("noise", "test", uint8, labels, tuple("abcd"), "made here", "data", N)
    flags = list(found(HIDING["input in 8 levels"][0]).values())
    fgsm = [AttackSpec.parse("fgsm", threat)]
    run = evaluate(model, data, range(60), fgsm, threat, seed=0, batch_size=60, out=tmp_path / "run", flags=flags)
    assert run.exit_code == 3
    assert list(run.flags)[: len(flags)] == flags
    assert verify(tmp_path / "run", model=model, data=data).failures == []
