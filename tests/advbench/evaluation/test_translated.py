"""A network outside JAX that attacks meet as its translation: the verdict is the network's own."""

import jax
import jax.numpy as jnp
import numpy as np

import advbench
from advbench.core.execution import Execution
from advbench.core.external import External
from advbench.core.loaded import LoadedModel
from advbench.core.outputs import Logits
from advbench.core.translated import Translated, is_translated, originals
from advbench.wrappers import wrapped
from advbench.wrappers.facing import judge_view

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(24, 5, 4, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(60, 3)).astype(np.float32)


def linear(w, shift, x):
    return x.reshape(len(x), -1) @ w + shift


def original():
    def forward(x):
        return x.reshape(len(x), -1) @ WEIGHTS

    return External(forward, lambda x: (forward(x), lambda g: (g @ WEIGHTS.T).reshape(x.shape)))


def model(shift):
    """A translation whose logits are off by `shift`."""
    translation = Logits(jax.tree_util.Partial(linear, jnp.asarray(WEIGHTS), jnp.asarray(shift, jnp.float32)))
    predict = Translated(translation, original())
    return LoadedModel("net", predict, None, None, None, "0" * 64, execution=Execution(attacked="translated"))


def evaluated(model):
    labels = (IMAGES.reshape(24, -1) @ WEIGHTS).argmax(1)
    settings = {
        "norm": "linf",
        "eps": 0.04,
        "attacks": "pgd:steps=40,rel_step_size=0.2",
        "preflight": False,
        "doublings": 0,
    }
    return advbench.evaluate(model, (IMAGES, labels), **settings)


def test_images_on_which_both_disagree_are_attacked_on_the_network_itself():
    """PGD rests on its first success: one that only the translation counts must not pass as a failure."""
    alone = evaluated(LoadedModel("net", original(), None, None, None, "0" * 64))
    off = evaluated(model([0.6, 0.0, -0.6]))
    assert 0 < off.robust.correct == alone.robust.correct < alone.clean.correct == 24
    assert [row.robust for row in off.rows] == [row.robust for row in alone.rows]
    (report,) = off.attacks
    assert report.undone == 0
    assert report.forwards > alone.attacks[0].forwards  # both attempts are counted


def test_where_both_agree_nothing_is_done_twice():
    calls, exact = [], model([0, 0, 0])
    forward = exact.predict.original.forward
    object.__setattr__(exact.predict.original, "forward", lambda x: calls.append(len(x)) or forward(x))
    object.__setattr__(exact.predict.original, "vjp", None)  # gradients would fail
    result = evaluated(exact)
    assert result.robust.correct < result.clean.correct
    assert result.model.execution == Execution(attacked="translated")
    assert len(calls) <= 5  # to judge clean images, the number of classes, and what was proposed


def test_the_judge_asks_the_network_itself_behind_any_wrapper():
    bare = model([0, 0, 0])
    defended = wrapped(bare, (5, 4, 3), ["bits:depth=3"])
    assert is_translated(defended.predict)
    for predict in (bare.predict, defended.predict):
        assert not is_translated(originals(predict))
        assert not is_translated(judge_view(predict))
        np.testing.assert_allclose(judge_view(predict)(IMAGES), predict(IMAGES), atol=1e-4)
