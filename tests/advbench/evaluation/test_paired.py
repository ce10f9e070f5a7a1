import numpy as np
import pytest

from advbench.core.intervals import Z
from advbench.evaluation.paired import (
    Difference,
    holm,
    mcnemar,
    tango,
)


def test_counts_and_change_of_paired_outcomes():
    found = Difference.of([True, True, True, False, False], [True, False, False, True, False])
    assert (found.n, found.before, found.after, found.lost, found.won) == (5, 3, 2, 2, 1)
    assert found.change == pytest.approx(-0.2)
    assert found.low < -0.2 < found.high


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="not pairs"):
        Difference.of([True], [True, False])


@pytest.mark.parametrize(("lost", "won", "p"), [(0, 0, 1), (1, 0, 1), (5, 0, 2 / 32), (0, 10, 2 / 1024), (7, 7, 1)])
def test_mcnemar_is_the_sign_test_on_discordant_pairs(lost, won, p):
    assert mcnemar(lost, won) == pytest.approx(p) == mcnemar(won, lost)


def test_tango_without_discordant_pairs_has_its_closed_form():
    half = Z**2 / (100 + Z**2)
    assert tango(0, 0, 100) == pytest.approx((-half, half), abs=1e-9)


def test_tango_is_antisymmetric_and_nests_the_estimate():
    low, high = tango(9, 4, 60)
    assert (low, high) == pytest.approx(tuple(-b for b in reversed(tango(4, 9, 60))), abs=1e-9)
    assert low < 5 / 60 < high
    assert tango(0, 10, 10)[0] == -1
    assert tango(0, 0, 0) == (-1, 1)


def test_tango_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.multinomial(80, [0.1, 0.2, 0.7], 1000)
    within = [low <= -0.1 <= high for low, high in (tango(*map(int, d[:2]), 80) for d in draws)]
    assert 0.93 < np.mean(within) < 0.97


def test_holm_keeps_order_and_never_shrinks_p():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
