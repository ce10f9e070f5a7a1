"""From outcomes to verdicts, on bounds and never on a point."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from advbench.evaluation.paired import Difference, mcnemar
from advbench.gating.decide import compare, decide, unknown_yet
from advbench.gating.measure import RuleInstance, Sample
from advbench.gating.rules import Rule

CLASSES = ("cat", "dog", "cow")
N = 300


def asked(kind, threshold, *, class_name=None, error=0.05):
    return RuleInstance(Rule(kind, Fraction(threshold), 0, class_name), "linf 0.3", None, error)


def evidence(good, labels=None):
    return Sample(np.asarray(good, bool), np.arange(N) % 3 if labels is None else labels, CLASSES)


def test_a_clear_case_is_certain_early_and_a_close_one_is_not():
    rule = asked("min_robust", "1/2")
    assert decide(rule, evidence([True] * 40))[0].verdict == "pass"
    assert decide(rule, evidence([False] * 40))[0].verdict == "fail"
    outcome, final = decide(rule, evidence([True, False] * 20))
    assert (outcome.verdict, final) == ("inconclusive", False)
    assert outcome.measured.low < 0.5 < outcome.measured.high


@pytest.mark.parametrize(("good", "verdict"), [(150, "pass"), (149, "fail")])
def test_the_whole_population_decides_exactly(good, verdict):
    outcome, final = decide(asked("min_robust", "1/2"), evidence(np.arange(N) < good))
    assert (outcome.verdict, final) == (verdict, True)
    assert outcome.measured.low == outcome.measured.value == outcome.measured.high


@pytest.mark.parametrize(("threshold", "good"), [("0.1", 30), ("0.3", 90), ("0.7", 210), ("2/3", 200), ("0.29", 87)])
def test_thresholds_are_exact(threshold, good):
    rule = asked("min_robust", threshold)
    assert decide(rule, evidence(np.arange(N) < good))[0].verdict == "pass"
    assert decide(rule, evidence(np.arange(N) < good - 1))[0].verdict == "fail"


def test_a_class_is_judged_by_its_own_images():
    good = np.arange(150) % 3 != 1  # all dogs fall
    for name, verdict in (("cat", "pass"), ("dog", "fail")):
        outcome, final = decide(asked("min_class", "1/2", class_name=name), evidence(good))
        assert (outcome.verdict, final, outcome.class_name) == (verdict, True, name)
        assert (outcome.measured.n, outcome.measured.population) == (50, 100)


def test_the_worst_class_fails_for_all_and_is_named():
    outcome, final = decide(asked("min_worst_class", "1/2"), evidence(np.arange(150) % 3 != 1))
    assert (outcome.verdict, final, outcome.class_name, outcome.measured.value) == ("fail", True, "dog", 0)


def test_the_worst_class_passes_only_when_every_class_does():
    rule = asked("min_worst_class", "1/2")
    assert decide(rule, evidence([True] * 240))[0].verdict == "pass"
    few_dogs = np.where(np.arange(N) < 6, 1, np.arange(N) % 2 * 2)[::-1]
    assert decide(rule, evidence([True] * 240, few_dogs))[0].verdict == "inconclusive"


def test_rules_are_told_apart_by_name():
    assert asked("min_class", "1/2", class_name="cat").name == "min_class linf 0.3 cat"
    assert unknown_yet(asked("min_robust", "1/2"), "time was up").verdict == "inconclusive"


@pytest.mark.parametrize("kind", ["min_robust", "min_worst_class"])
@pytest.mark.parametrize("short", [0, 1])
def test_gates_at_the_threshold_are_seldom_wrong(kind, short):
    """Whole gates that look after every fourth image: one rule, or three classes, all at the threshold."""
    rng, error, gates, population = np.random.default_rng(5), 0.1, 400, 60
    labels, wrong = np.arange(population) % 3, 0
    robust = np.arange(population) // 3 < 12 - short
    for _ in range(gates):
        order = rng.permutation(population)
        for n in range(4, population + 1, 4):
            known = Sample(robust[order[:n]], labels[order], CLASSES)
            outcome, final = decide(asked(kind, "3/5", error=error), known)
            if final:
                break
        assert final
        wrong += outcome.verdict != ("fail" if short else "pass")
    assert wrong <= binom.ppf(0.999, gates, error)


def drop(before, after, most, population, error=0.05):
    (outcome,) = compare([asked("max_drop", most, error=error)], [(np.asarray(before), np.asarray(after))], population)
    return outcome


def test_no_change_passes_and_a_collapse_fails():
    was = np.arange(400) < 300
    assert drop(was, was, "0.02", 10_000).verdict == "pass"
    assert drop(was, was & (np.arange(400) < 200), "0.02", 10_000).verdict == "fail"


def test_a_drop_on_either_side_of_what_is_certain_is_inconclusive():
    was = np.arange(400) < 300
    outcome = drop(was, was & (np.arange(400) >= 9), "0.02", 10_000)
    assert outcome.difference.low < -0.02 < outcome.difference.high
    assert outcome.verdict == "inconclusive"
    assert (outcome.difference.lost, outcome.difference.won) == (9, 0)


@pytest.mark.parametrize(("lost", "verdict"), [(8, "pass"), (9, "fail")])
def test_on_the_whole_population_the_count_decides(lost, verdict):
    was = np.arange(400) < 300
    assert drop(was, was & (np.arange(400) >= lost), "0.02", 400).verdict == verdict


def test_what_may_be_chance_is_no_failure():
    was = np.arange(100) < 80
    outcome = drop(was, was & (np.arange(100) >= 3), "0.02", 100)
    assert mcnemar(3, 0) > 0.05 and outcome.verdict == "inconclusive"


def test_several_drops_are_held_to_holm():
    """Alone, each is significant; together, none is."""
    was = np.arange(100) < 80
    pair = (was, was & (np.arange(100) >= 6))
    assert 0.02 < mcnemar(6, 0) < 0.04
    assert drop(*pair, "0.02", 100, error=0.04).verdict == "fail"
    rules = [asked("max_drop", "0.02", error=0.02), asked("max_drop", "0.02", error=0.02)]
    assert [outcome.verdict for outcome in compare(rules, [pair, pair], 100)] == ["inconclusive"] * 2


def test_the_interval_has_the_level_of_the_rule():
    was = np.arange(400) < 300
    wide, narrow = (drop(was, was, "0.02", 10_000, error).difference for error in (0.001, 0.1))
    assert wide.low < narrow.low < 0 < narrow.high < wide.high
    assert (wide.interval, narrow.interval) == ("exact-99.8", "exact-80")
    assert Difference.of(was, was).interval == "tango-95"
