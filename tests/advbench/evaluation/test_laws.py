"""What must hold of every evaluation, whatever the model."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import Attack, Proposal
from advbench.attacks.spec import AttackSpec
from advbench.core.batches import Batches
from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.spec import ThreatSpec
from advbench.evaluation import curve, evaluate, judge
from advbench.evaluation.judge import measure
from advbench.evaluation.verification import verify

from .conftest import N, attacks, make_model, network, timeless, verdicts

ALL = ("fgsm", "pgd:steps=10,rel_step_size=0.2", "pgd:loss=margin,targets=2,steps=10,rel_step_size=0.2")


def judged(model, data, threat, *texts, **options):
    options = {"seed": 0, "batch_size": 16} | options
    return evaluate(model, data, range(N), attacks(*texts, threat=threat), threat, **options)


def test_clean_image_is_the_first_adversary(model, data, threat):
    result = judged(model, data, threat, *ALL)
    assert result.clean.correct == N - 5
    assert [row.broken_by for row in result.rows[:5]] == ["clean"] * 5
    assert 0 < result.robust.correct < result.clean.correct
    assert all(attack.tried <= result.clean.correct for attack in result.attacks)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_eps_0_changes_nothing(model, data, norm):
    result = judged(model, data, ThreatSpec.parse(norm, "0"), "fgsm", "pgd:restarts=2")
    assert result.robust == result.clean
    assert not result.flags


def test_more_restarts_and_steps_never_find_less(model, data, threat):
    def robust(text):
        return {row.index for row in judged(model, data, threat, text, doublings=0).rows if row.robust}

    base = robust("pgd:steps=5,rel_step_size=0.2")
    assert robust("pgd:steps=5,rel_step_size=0.2,restarts=4") <= base
    assert robust("pgd:steps=15,rel_step_size=0.2") <= base
    aimed = robust("pgd:steps=5,rel_step_size=0.2,loss=margin,targets=1")
    assert robust("pgd:steps=5,rel_step_size=0.2,loss=margin,targets=3,restarts=2") <= aimed


def test_worst_case_is_the_union_of_all_attacks(model, data, threat):
    each = judged(model, data, threat, *ALL, each=True)
    alone = [judged(model, data, threat, text, each=True) for text in ALL]
    assert [a.alone for a in each.attacks] == [a.robust for a in alone]
    together = [all(r.rows[i].robust for r in alone) for i in range(N)]
    assert [row.robust for row in each.rows] == together
    assert each.robust.accuracy <= min(a.alone.accuracy for a in each.attacks)
    assert all(attack.tried == each.clean.correct for attack in each.attacks)


def test_cascade_order_and_mode_change_no_verdict(model, data, threat):
    cascade = judged(model, data, threat, *ALL)
    assert verdicts(judged(model, data, threat, *ALL[::-1])) == verdicts(cascade)
    assert verdicts(judged(model, data, threat, *ALL, each=True)) == verdicts(cascade)
    assert cascade.attacks[0].alone == cascade.attacks[0].after
    assert cascade.attacks[-1].after == cascade.robust


@pytest.mark.parametrize("batch_size", [7, 500])
def test_batch_size_changes_no_verdict(model, data, threat, batch_size):
    reference = judged(model, data, threat, *ALL[:2])
    assert verdicts(judged(model, data, threat, *ALL[:2], batch_size=batch_size)) == verdicts(reference)


def test_neighbours_change_no_verdict(model, data, threat):
    """An image is judged the same in another order and among others."""
    reference = {row.index: (row.robust, row.broken_by) for row in judged(model, data, threat, *ALL).rows}
    some = [*range(59, 19, -1), 3, 17]
    result = evaluate(model, data, some, attacks(*ALL), threat, seed=0, batch_size=16)
    assert [row.index for row in result.rows] == some
    assert {row.index: (row.robust, row.broken_by) for row in result.rows} == {i: reference[i] for i in some}


def test_same_seed_same_result_and_other_seed_other_starts(model, data, threat):
    first, again = (judged(model, data, threat, "pgd:steps=1,rel_step_size=1") for _ in range(2))
    assert timeless(first) == timeless(again)
    other = judged(model, data, threat, "pgd:steps=1,rel_step_size=1", seed=1)
    assert [row.margin for row in other.rows] != [row.margin for row in first.rows]


def test_costs_are_counted(model, data, threat):
    result = judged(model, data, threat, "pgd:steps=10,rel_step_size=0.2", doublings=0)
    (attack,) = result.attacks
    assert attack.gradients == sum(row.gradients for row in result.rows)
    assert all(row.gradients == 10 for row in result.rows if row.robust)
    assert all(row.gradients == 0 for row in result.rows if row.broken_by == "clean")
    assert attack.seconds > 0


def test_curve_never_rises_and_agrees_with_single_evaluations(model, data):
    threats = [ThreatSpec.parse("linf", eps) for eps in ("0.1", "0", "0.02", "0.05")]
    results = curve(model, data, range(N), attacks(*ALL), threats, seed=0, batch_size=16)
    assert [r.threat.eps for r in results] == ["0", "0.02", "0.05", "0.1"]
    fallen = [{row.index for row in r.rows if not row.robust} for r in results]
    assert all(small <= large for small, large in pairwise(fallen))
    for result in results:
        alone = judged(model, data, ThreatSpec.parse("linf", result.threat.eps), *ALL)
        assert result.robust.correct <= alone.robust.correct
    assert results[0].robust == results[0].clean
    assert any(flag.name == "carried_over" for flag in results[-1].flags)


def test_curve_compiles_once(model, data):
    threats = [ThreatSpec.parse("linf", eps) for eps in ("0.011", "0.012", "0.013")]
    results = curve(model, data, range(N), attacks("pgd:steps=9,rel_step_size=0.2"), threats, seed=0, batch_size=N)
    assert sum(r.attacks[0].compile_seconds for r in results[1:]) == 0


def test_every_curve_point_verifies(model, data, tmp_path):
    threats = [ThreatSpec.parse("l2", eps) for eps in ("0.2", "1/2")]
    for each in (False, True):
        out = tmp_path / str(each)
        curve(model, data, range(N), attacks("fgsm", "pgd"), threats, seed=0, batch_size=N, out=out, each=each)
        for folder in ("eps-0.2", "eps-1_2"):
            assert verify(out / folder, model=model, data=data).failures == []


class Cheat(Attack):
    """Proposes what no one may propose."""

    norms = ("linf",)
    paper = ""
    far: float = 0.0
    beyond: float = 0.0
    nan: float = 0.0

    def __call__(self, model, threat, x, y, keys):
        moved = x + self.far * jnp.where(x > 0.5, -1, 1)
        moved = jnp.where(self.beyond > 0, 1.0 + self.beyond, moved)
        moved = jnp.where(self.nan > 0, jnp.nan, moved)
        zero = jnp.zeros(len(x), jnp.int32)
        return Proposal(moved, zero, zero)


@pytest.mark.parametrize("cheat", [Cheat(far=0.5), Cheat(far=0.05001), Cheat(beyond=0.01), Cheat(nan=1.0)])
def test_cheating_attack_breaks_nothing_and_is_named(model, data, threat, cheat):
    result = evaluate(model, data, range(N), [AttackSpec("cheat", cheat)], threat, seed=0, batch_size=16)
    assert result.robust == result.clean
    assert result.attacks[0].out_of_bounds == result.clean.correct
    assert [flag.name for flag in result.flags] == ["proposal_out_of_bounds"]
    assert result.exit_code == 3
    assert all(row.finite for row in result.rows)


def test_measure_is_exact_at_the_edge():
    x = np.full((4, 2, 2, 1), 0.5, np.float32)
    moved = x + np.float32([0.05, 0.0500005, 0.050002, np.nan])[:, None, None, None]
    allowed, distance = measure(ThreatSpec.parse("linf", "0.05"), x, moved)
    assert allowed.tolist() == [True, True, False, False]
    assert measure(ThreatSpec.parse("l2", "0.1"), x, moved)[1][:2] == pytest.approx(2 * distance[:2])
    assert measure(ThreatSpec.parse("l1", "0.2"), x, moved)[1][:2] == pytest.approx(4 * distance[:2])


@pytest.mark.parametrize("values", [1, 12, 10**6])
def test_measure_in_parts_changes_nothing(values, monkeypatch):
    """Images of 4 values, one, three or all at once: every image is measured against its own."""
    x = np.linspace(0, 0.5, 28, dtype=np.float32).reshape(7, 2, 2, 1)
    moves = np.arange(7, dtype=np.float32) / 64
    monkeypatch.setattr(judge, "AT_ONCE", values)
    allowed, distance = measure(ThreatSpec.parse("linf", "0.05"), x, x + moves[:, None, None, None])
    np.testing.assert_allclose(distance, moves, atol=1e-7)
    np.testing.assert_array_equal(allowed, moves <= 0.05)


def test_model_that_gives_nan_is_never_robust(data, threat):
    def sometimes_nan(weights, x):
        return jnp.where((x[:, 0, 0] > 0.5), jnp.nan, network(weights, x))

    result = judged(make_model(sometimes_nan), data, threat, "fgsm")
    bad = {i for i in range(N) if data.images[i, 0, 0, 0] > 127}
    assert bad
    assert not any(row.robust for row in result.rows if row.index in bad)
    assert {row.index for row in result.rows if row.clean_prediction is None} == bad
    assert result.exit_code == 3
    assert "nonfinite_outputs" in [flag.name for flag in result.flags]


def test_nan_met_only_under_attack_counts_as_broken(data, threat):
    def nan_when_moved(weights, x):
        moved = jnp.abs(x * 255 - jnp.round(x * 255)).max((1, 2, 3)) > 0.01
        return jnp.where(moved[:, None], jnp.nan, network(weights, x))

    result = judged(make_model(nan_when_moved), data, threat, "fgsm")
    assert result.clean.correct == N - 5
    assert result.robust.correct == 0
    assert result.exit_code == 3


def test_memory_error_halves_the_batch_and_changes_nothing_else(data, threat):
    def fits_8(weights, x):
        if len(x) > 8:
            raise MemoryError
        return network(weights, x)

    small = judged(make_model(fits_8), data, threat, ALL[1])
    assert verdicts(small) == verdicts(judged(make_model(), data, threat, ALL[1]))
    (flag,) = small.flags
    assert (flag.name, flag.level, flag.evidence) == ("batch_halved", "note", {"from": 16, "to": 8})


def test_memory_that_never_suffices_is_one_line():
    def full(_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

    with pytest.raises(DataUnavailable, match="not enough memory"):
        Batches(4).map(full, np.zeros(8), size=4)


def test_batches_pad_and_restore():
    shapes = []

    def double(x):
        shapes.append(x.shape)
        return {"twice": 2 * x}

    x = np.arange(11.0).reshape(11, 1)
    assert (Batches(4).map(double, x, size=4)["twice"] == 2 * x).all()
    assert set(shapes) == {(4, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": []}, "at least one image"),
        ({"indices": [0, 60]}, "no image 60"),
        ({"indices": [-1]}, "no image -1"),
        ({"indices": [1, 1]}, "twice"),
        ({"indices": [0.5]}, "whole numbers"),
        ({"attacks": []}, "at least one attack"),
        ({"attacks": attacks("fgsm", "fgsm")}, "only once"),
        ({"batch_size": 0}, "batch size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_refused(model, data, threat, change, message):
    arguments = {"indices": range(9), "attacks": attacks("fgsm"), "threat": threat, "seed": 0, "batch_size": 4}
    with pytest.raises(UsageError, match=message):
        evaluate(model, data, **(arguments | change))


def test_model_and_data_must_fit(model, data, threat):
    with pytest.raises(UsageError, match="takes images of"):
        judged(replace(model, shape=(28, 28, 1)), data, threat, "fgsm")
    with pytest.raises(UsageError, match="logits"):
        judged(make_model(lambda w, x: network(w, x)[:, :2]), data, threat, "fgsm")
    with pytest.raises(UsageError, match="logits"):
        judged(make_model(lambda w, x: network(w, x).sum(1)), data, threat, "fgsm")
    with pytest.raises(UsageError, match="need one norm"):
        threats = [ThreatSpec.parse("l2", "1"), ThreatSpec.parse("linf", "0.1")]
        curve(model, data, range(9), attacks("fgsm"), threats, seed=0, batch_size=4)
