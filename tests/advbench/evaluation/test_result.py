import subprocess
import sys
from fractions import Fraction
from itertools import product
from math import comb

import pytest

from advbench.core.errors import UsageError
from advbench.core.flag import Flag
from advbench.core.intervals import at_least, clopper_pearson, wilson
from advbench.evaluation import evaluate
from advbench.evaluation.result import Rate, Result

from .conftest import attacks


@pytest.fixture(scope="module")
def result(model, data, threat):
    return evaluate(model, data, range(20), attacks("fgsm"), threat, seed=0, batch_size=20)


def test_survives_json(result):
    assert Result.from_json(result.to_json()) == result


def test_reading_a_result_imports_no_jax():
    code = "import sys, advbench.evaluation.result; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed"', '"sead"'),
        ('"schema_version": 1', '"schema_version": 2'),
        ('"seed": 0', '"seed": NaN'),
        ('"complete": true', '"complete": "yes"'),
        ('"seed": 0', '"seed": 0, "extra": 1'),
        ('"correct": ', '"correct": -'),
    ],
)
def test_refuses_other_fields_versions_and_types(result, old, new):
    text = result.to_json()
    assert old in text
    with pytest.raises(UsageError) as error:
        Result.from_json(text.replace(old, new))
    assert "\n" not in str(error.value)


def test_refuses_every_truncation(result):
    text = result.to_json().rstrip()
    for end in range(0, len(text), 97):
        with pytest.raises(UsageError):
            Result.from_json(text[:end])


def test_hostile_bytes_are_one_line(tmp_path):
    for content in (b"\xff\xfe\x00", b"[" * 100_000, b"null", b'{"rows": [' + b"{}," * 10 + b"{}]}"):
        (tmp_path / "result.json").write_bytes(content)
        with pytest.raises(UsageError) as error:
            Result.load(tmp_path)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="can't read the result"):
        Result.load(tmp_path / "nowhere")


def test_exit_code_follows_the_flags(result):
    assert result.exit_code == 0
    invalid = Flag(name="masked", level="invalid", evidence={}, message="")
    assert result.model_copy(update={"flags": (invalid,)}).exit_code == 3
    assert result.model_copy(update={"flags": (invalid.model_copy(update={"level": "note"}),)}).exit_code == 0
    assert result.model_copy(update={"complete": False}).exit_code == 5


def test_wilson_bounds_solve_the_score_equation():
    for k, n in [(1, 7), (50, 100), (9562, 10_000)]:
        for p in wilson(k, n):
            assert n * (k / n - p) ** 2 == pytest.approx(1.959963984540054**2 * p * (1 - p), rel=1e-9)
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_lower_bound_is_above_what_a_guess_reaches_too_rarely():
    for k, n, p in product((1, 4, 9, 20), (20, 64), (0.1, 0.25)):
        exact = sum(comb(n, i) * Fraction(p) ** i * (1 - Fraction(p)) ** (n - i) for i in range(k, n + 1))
        assert at_least(k, n, p) == pytest.approx(float(exact), rel=1e-12)
        assert (at_least(k, n, p) < 0.05) == (clopper_pearson(k, n, 0.9)[0] > p)


def test_clopper_pearson_tails_hold_a_fortieth_each():
    low, high = clopper_pearson(3, 20)
    more = sum(comb(20, i) * low**i * (1 - low) ** (20 - i) for i in range(3, 21))
    fewer = sum(comb(20, i) * high**i * (1 - high) ** (20 - i) for i in range(4))
    assert more == pytest.approx(0.025)
    assert fewer == pytest.approx(0.025)
    assert clopper_pearson(0, 300)[1] == pytest.approx(1 - 0.025 ** (1 / 300))
    assert clopper_pearson(0, 9)[0] == 0.0
    assert clopper_pearson(9, 9)[1] == 1.0


def test_nonsense_counts_are_refused():
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="5 successes in 4 trials"):
            interval(5, 4)


def test_rate_names_its_interval():
    rate = Rate.of(3, 4)
    assert (rate.accuracy, rate.n, rate.correct, rate.interval) == (0.75, 4, 3, "wilson-95")
    assert rate.low < 0.75 < rate.high
