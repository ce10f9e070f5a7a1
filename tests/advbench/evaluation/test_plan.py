"""What is done next: suites, convergence, time budgets."""

import jax
import jax.numpy as jnp
import pytest

from advbench.attacks import Attack, Proposal
from advbench.attacks.base import setting
from advbench.attacks.loop import TimeUp
from advbench.attacks.suites import SUITES, expand
from advbench.errors import UsageError
from advbench.evaluation import evaluate
from advbench.evaluation.verification import verify
from advbench.spec import AttackSpec, ThreatSpec, attacks_of

from .conftest import N, attacks, make_model, network


class Late(Attack):
    """Breaks each image at a step that `falls` gives it, and not before."""

    norms = ("linf",)
    cost = ""
    paper = ""
    stops = True
    steps: int = 16
    falls: str = setting(default="15 31 63 1000000")

    def __call__(self, model, threat, x, y, keys):
        falls = [int(word) for word in self.falls.split()]
        fall = jnp.asarray(falls)[jnp.round(x[:, 0, 0, 0] * 255).astype(jnp.int32) % len(falls)]
        fooled = fall <= self.steps
        moved = jnp.clip(x + jnp.where(fooled, threat.eps, 0.0)[:, None, None, None], 0, 1)
        passes = jnp.minimum(fall, self.steps).astype(jnp.int32)
        return Proposal(moved, passes, passes)


def brightness(weights, x):
    """Right while the image is what it was, wrong once every pixel is brighter: for `Late` to shove over."""
    exact = jnp.abs(x * 255 - jnp.round(x * 255)).max((1, 2, 3)) < 1e-3
    logits = network(weights, x)
    return jnp.where(exact[:, None], logits, -logits)


def judged(data, spec, **options):
    threat = ThreatSpec.parse("linf", "0.01001")
    options = {"seed": 0, "batch_size": 16} | options
    return evaluate(make_model(brightness), data, range(N), [spec], threat, **options)


def test_steps_double_while_the_last_doubling_breaks_many(data):
    result = judged(data, AttackSpec("late", Late()))
    (attack,) = result.attacks
    assert attack.convergence.doublings == 2
    left = attack.convergence.after_runs  # 16 steps, then 32, then 64: a quarter falls to each
    assert len(left) == 3 and left[0] > left[1] > left[2] == result.robust.correct > 0
    assert "under_converged" in [flag.name for flag in result.flags]
    assert result.exit_code == 3


def test_nothing_is_doubled_when_nothing_stands(data):
    result = judged(data, AttackSpec("late", Late(falls="15 16")))
    assert result.robust.correct == 0 and not result.flags
    assert result.attacks[0].convergence.doublings == 0


def test_what_has_converged_is_not_run_again(data):
    result = judged(data, AttackSpec("late", Late(falls="1 2 3 1000000")))
    (attack,) = result.attacks
    assert attack.convergence.doublings == 0 and not result.flags
    assert attack.convergence.standing[-1] == result.robust.correct and attack.convergence.passes == (1, 2, 4, 8, 16)
    assert list(attack.convergence.standing) == sorted(attack.convergence.standing, reverse=True)


def test_convergence_counts_what_the_rows_say(model, data, threat):
    result = evaluate(model, data, range(N), attacks("pgd:restarts=2"), threat, seed=0, batch_size=16)
    (attack,) = result.attacks
    found = attack.convergence
    assert found.after_runs[-1] == found.standing[-1] == result.robust.correct
    assert len(found.after_runs) == 2 and found.after_runs[0] >= found.after_runs[1]
    for passes, standing in zip(found.passes, found.standing, strict=True):
        fell = [row for row in result.rows if row.broken_by == "pgd:restarts=2" and row.forwards <= passes]
        assert standing == result.clean.correct - len(fell)


def test_a_run_that_doubled_resumes_to_the_same_result(data, tmp_path):
    spec = AttackSpec("late", Late())
    whole = judged(data, spec, out=tmp_path / "whole")
    asked = iter(range(100))
    from advbench.errors import Interrupted

    with pytest.raises(Interrupted):
        judged(data, spec, out=tmp_path / "cut", should_stop=lambda: 2 if next(asked) == 6 else None)
    resumed = judged(data, spec, out=tmp_path / "cut", resume=True)
    assert resumed.rows == whole.rows and resumed.attacks[0].convergence == whole.attacks[0].convergence


class Clock:
    """Stands still unless an attack takes its time."""

    now = 0.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("attacks.loop", "evaluation.plan", "evaluation.evaluator"):
        monkeypatch.setattr(f"advbench.{module}.time", clock)
    monkeypatch.setattr("advbench.evaluation.evaluator.compile_seconds", lambda: 0.0)
    return clock


def slow(clock, seconds, deadline=None):
    """Breaks nothing, takes so many seconds a batch, and gives up past a deadline if it knows of one."""

    class Slow(Attack):
        norms = ("linf",)
        cost = ""
        paper = ""

        def __call__(self, model, threat, x, y, keys):
            clock.now += seconds
            if deadline is not None and clock.now > deadline:
                raise TimeUp
            zero = jnp.zeros(len(x), jnp.int32)
            return Proposal(x, zero, zero)

    return AttackSpec("slow", Slow(restarts=1000))


def test_a_budget_puts_first_what_breaks_most_and_names_what_it_skips(model, data, threat, tmp_path, clock):
    (pgd,) = attacks("pgd:steps=10,rel_step_size=0.2")
    plain = evaluate(model, data, range(N), [pgd], threat, seed=0, batch_size=16)
    told = []
    options = {"seed": 0, "batch_size": 16, "budget": 4.0, "out": tmp_path / "run", "progress": told.append}
    result = evaluate(model, data, range(N), [slow(clock, 0.3), pgd], threat, **options)
    # A batch of each; all that is left to the one that breaks, in batches of 4; and no batch that would end too late.
    by_pgd = -(-plain.clean.correct // 4)
    assert [each.attack for each in told] == ["slow", *[pgd.text] * by_pgd, *["slow"] * 12]
    assert clock.now == pytest.approx(13 * 0.3)
    assert not result.complete and result.exit_code == 5
    (skipped,) = result.skipped
    assert skipped.spec == "slow" and skipped.reason == "time"
    last = told[-1]
    assert skipped.runs == 1000 - last.run - (last.done == last.total) > 900
    assert result.robust == plain.robust  # the one that breaks was never kept waiting
    assert "time_budget" in [flag.name for flag in result.flags]
    assert verify(tmp_path / "run", model=model, data=data).failures == []


def test_what_is_abandoned_when_time_is_up_counts_as_skipped(model, data, threat, clock):
    specs = [slow(clock, 0.3, deadline=1.0)]
    result = evaluate(model, data, range(N), specs, threat, seed=0, batch_size=16, budget=1.0)
    (skipped,) = result.skipped  # three batches of 4 end in time; the fourth began in time, and is lost
    assert (skipped.runs, skipped.images) == (1000, result.clean.correct - 3 * 4)
    assert result.attacks[0].tried == 3 * 4 and result.exit_code == 5


def test_a_budget_that_suffices_changes_no_verdict(model, data, threat):
    specs = attacks("fgsm", "pgd:steps=10,rel_step_size=0.2,restarts=2")
    plain = evaluate(model, data, range(N), specs, threat, seed=0, batch_size=16)
    timed = evaluate(model, data, range(N), specs, threat, seed=0, batch_size=16, budget=600)
    assert timed.complete and timed.exit_code == 0 and timed.skipped == ()
    assert [row.robust for row in timed.rows] == [row.robust for row in plain.rows]


def test_budgets_that_make_no_sense_are_refused(model, data, threat, tmp_path):
    with pytest.raises(UsageError, match="more than 0"):
        evaluate(model, data, range(N), attacks("fgsm"), threat, seed=0, batch_size=16, budget=0)
    with pytest.raises(UsageError, match="can't be resumed"):
        evaluate(
            model, data, range(N), attacks("fgsm"), threat, seed=0, batch_size=16, budget=9, out=tmp_path, resume=True
        )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_made_of_attacks_that_serve_its_norm(suite, norm):
    specs = attacks_of([suite], ThreatSpec.parse(norm, "0.5"))
    assert tuple(spec.text for spec in specs) == expand(suite, norm)


def test_what_is_named_twice_counts_once(threat):
    names = [spec.text for spec in attacks_of(["fgsm", "autoattack", "square", "fgsm"], threat)]
    assert names == ["fgsm", "apgd", "apgd:loss=dlr,targets=9", "fab:targets=9", "square"]


def test_suites_and_names_that_are_not_there_are_refused(threat):
    with pytest.raises(UsageError, match="no recipe in l0"):
        attacks_of(["autoattack"], ThreatSpec.parse("l0", "3"))
    with pytest.raises(UsageError, match="did you mean 'autoattack'"):
        attacks_of(["autoatack"], threat)


def test_few_classes_are_noted(data, threat):
    three = make_model(lambda w, x: network(w, x)[:, :3])
    labels = jax.device_get(three.predict(data.images / 255.0)).argmax(1)
    from dataclasses import replace

    named = replace(data, labels=labels.astype("int32"), classes=("a", "b", "c"))
    specs = attacks("pgd:loss=dlr,targets=9,steps=5,rel_step_size=0.3", "pgd:loss=dlr,steps=5,rel_step_size=0.3")
    result = evaluate(replace(three, classes=3), named, range(N), specs, threat, seed=0, batch_size=16)
    (flag,) = [flag for flag in result.flags if flag.name == "few_classes"]
    assert flag.evidence["attacks"] == ["pgd:loss=dlr,targets=9,steps=5,rel_step_size=0.3"]  # 3 suffice untargeted
    assert result.attacks[0].runs == 2
