"""Feature squeezing: what is rejected, and that only what is wrong and accepted counts as broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from advbench.attacks.losses import misclassified
from advbench.core.batches import Batches
from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec
from advbench.evaluation.judge import Judge
from advbench.wrappers.facing import NonAdaptive, attack_view, judge_view
from advbench.wrappers.resize import RandomResize
from advbench.wrappers.squeeze import FeatureSqueezing

SHAPE = (4, 4, 1)


def brightness(x):
    """Three classes by mean brightness; 0.45 and 0.55 fall on different sides once rounded to a bit."""
    mean = x.mean((1, 2, 3))
    return 40 * jnp.stack([-jnp.abs(mean - centre) for centre in (0.0, 0.45, 1.0)], 1)


@pytest.fixture
def detector():
    return FeatureSqueezing(depth=1, size=2, threshold=0.5).wrap(Partial(brightness), SHAPE, adaptive=True)


def flat(*values):
    return jnp.stack([jnp.full(SHAPE, value, jnp.float32) for value in values])


def test_an_image_is_rejected_where_the_squeezed_one_is_another_class(detector):
    assert detector(flat(0, 0.45, 1)).argmax(1).tolist() == [0, 3, 2]
    assert detector(flat(0)).shape == (1, 4)


def test_only_what_is_wrong_and_accepted_fools(detector):
    x = flat(0.0, 0.0, 0.45, 0.45)
    y = jnp.array([0, 1, 1, 2])  # right, wrong, right but rejected, wrong and rejected
    assert misclassified(attack_view(detector, x, y)(x), y).tolist() == [False, True, False, False]


def test_the_judge_counts_a_rejected_clean_image_as_wrong_and_a_rejected_attack_as_failed(detector):
    judge = Judge(judge_view(detector), ThreatSpec.parse("any", "1"), Batches(2), 2)
    x, y = np.asarray(flat(0.45, 0.0)), np.array([1, 0], np.int32)
    assert judge(x, y, x).broken.tolist() == [True, False]
    assert judge(x, y, np.asarray(flat(0.45, 0.45))).broken.tolist() == [False, False]
    assert judge(x, y, np.asarray(flat(1.0, 1.0))).broken.tolist() == [True, True]


def test_there_is_a_slope_where_the_image_is_wrong_and_rejected(detector):
    y = jnp.array([2])
    model = attack_view(detector, flat(0.45), y)
    input_gradient = jax.grad(lambda x: (model(x) @ jnp.array([1.0, 1.0, -1.0]))[0])(flat(0.45))
    assert np.isfinite(input_gradient).all()
    assert float(jnp.abs(input_gradient).max()) > 0


def test_rows_keep_their_labels(detector):
    y = jnp.array([0, 1, 2])
    some = jnp.array([2, 0])
    x = flat(0.0, 0.45, 0.3)
    np.testing.assert_allclose(
        attack_view(detector, x, y).rows(some)(x[some]), attack_view(detector, x, y)(x)[some], rtol=1e-5
    )
    with pytest.raises(UsageError, match="reorders images"):
        attack_view(detector, x, y)(x[:1])


def test_attacks_that_do_not_adapt_meet_the_bare_network():
    model = FeatureSqueezing().wrap(Partial(brightness), SHAPE, adaptive=False)
    assert isinstance(model, NonAdaptive)
    x = flat(0.45)
    np.testing.assert_array_equal(attack_view(model, x, jnp.array([1]))(x), brightness(x))
    assert judge_view(model)(x).shape == (1, 4)


def test_it_refuses_what_it_can_not_compare():
    noisy = RandomResize().wrap(Partial(brightness), SHAPE, adaptive=True)
    with pytest.raises(ValueError, match="by chance"):
        FeatureSqueezing().wrap(noisy, SHAPE, adaptive=True)
