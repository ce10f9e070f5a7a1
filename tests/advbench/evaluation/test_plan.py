"""What is done next: suites, convergence, time budgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import Attack, Proposal, TargetedLabels
from advbench.attacks.base import Targeted, setting
from advbench.attacks.loop import TimeUp
from advbench.attacks.spec import AttackSpec, attacks_of
from advbench.attacks.suites import SUITES, expand
from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation import evaluate
from advbench.evaluation.convergence import bound
from advbench.evaluation.evaluator import Evaluator
from advbench.evaluation.verification import verify

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
        misclassified = fall <= self.steps
        moved = jnp.clip(x + jnp.where(misclassified, threat.eps, 0.0)[:, None, None, None], 0, 1)
        passes = jnp.minimum(fall, self.steps).astype(jnp.int32)
        return Proposal(moved, passes, passes)


def brightness(weights, x):
    """Right while the image is what it was, wrong once every pixel is brighter: for `Late` to shove over."""
    exact = jnp.abs(x * 255 - jnp.round(x * 255)).max((1, 2, 3)) < 1e-3
    logits = network(weights, x)
    return jnp.where(exact[:, None], logits, -logits)


def judged(data, specs, n=N, **options):
    threat = ThreatSpec.parse("linf", "0.01001")
    options = {"seed": 0, "batch_size": 16} | options
    specs = specs if isinstance(specs, list) else [specs]
    return evaluate(make_model(brightness), data, range(n), specs, threat, **options)


def converging(result):
    """What is said of convergence."""
    return [flag for flag in result.flags if flag.name == "under_converged"]


def test_steps_double_while_the_last_doubling_breaks_many(data):
    result = judged(data, AttackSpec("late", Late()))
    (attack,) = result.attacks
    assert attack.convergence.doublings == 2
    left = attack.convergence.after_runs  # 16 steps, then 32, then 64: a quarter falls to each
    assert len(left) == 3 and left[0] > left[1] > left[2] == result.robust.correct > 0
    (flag,) = converging(result)
    assert (flag.level, flag.evidence["amount"], flag.evidence["doublings"]) == ("invalid", "steps", 2)
    assert flag.evidence["late"] == left[1] - left[2] == attack.convergence.late_steps
    assert "of the steps of late" in flag.message and "steps=128" in flag.message
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


def test_an_attack_that_finds_everything_early_raises_nothing(data):
    """The control: most images fall, all in the first tenth of the steps."""
    for doublings in (0, 2):
        result = judged(data, AttackSpec("late", Late(steps=40, falls="1 2 3 4 1000000")), doublings=doublings)
        assert not result.flags and result.exit_code == 0 and result.robust.correct > 0
        assert result.attacks[0].convergence.late_steps == result.attacks[0].convergence.doublings == 0


def test_every_iterative_attack_is_judged_not_only_the_last(data):
    """As AutoAttack, whose last gradient attack breaks nothing and so has always converged."""
    late, last = AttackSpec("late", Late()), AttackSpec("last", Late(falls="1000000"))
    result = judged(data, [late, last])
    (flag,) = converging(result)
    assert flag.evidence["attack"] == "late" and flag.level == "invalid"
    assert [attack.convergence.doublings for attack in result.attacks] == [2, 0]
    assert [attack.convergence.late_steps for attack in result.attacks] == [flag.evidence["late"], 0]


def test_what_a_later_attack_makes_up_for_is_no_fault(data):
    """Late successes of an attack count by what more of it would break of the images that stand in the end."""
    late, strong = AttackSpec("late", Late()), AttackSpec("strong", Late(falls="1 1 1 1000000"))
    for doublings in (0, 2):
        result = judged(data, [late, strong], doublings=doublings)
        assert result.exit_code == 0 and not converging(result)
    assert result.attacks[0].convergence.doublings == 1  # which broke nothing more


def numbered(n=100):
    """Images that `Late` tells apart by their first pixel, all of them right."""
    images = np.random.default_rng(6).integers(0, 256, (n, 5, 5, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    labels = np.asarray(make_model().predict(images / np.float32(255))).argmax(1).astype(np.int32)
    return Dataset("numbered", "test", images, labels, tuple("abcd"), "made here", "numbered", n)


@pytest.mark.parametrize(("doublings", "falls"), [(2, [33, 9, 9, 9]), (0, [51, 9])])
def test_the_bound_is_on_what_stands_not_on_the_sample(doublings, falls):
    """At 40 % robust and n = 100 the last doubling breaks 9 images, less than the interval reaches to either side."""
    when = [step for step, count in zip((1, 16, 32, 64), falls, strict=False) for _ in range(count)]
    spec = AttackSpec("late", Late(falls=" ".join(map(str, when + [1000000] * 40))))
    result = judged(numbered(), spec, n=100, doublings=doublings)
    assert result.robust.correct == 40
    assert (result.robust.high - result.robust.low) / 2 > 9 / 100
    (flag,) = converging(result)
    assert (flag.evidence["late"], flag.evidence["standing"], result.exit_code) == (9, 40, 3)


def test_one_or_two_images_are_no_sign_and_a_hundredth_of_many_is_none():
    assert [bound(standing) for standing in (1, 100, 200, 1000)] == [2, 2, 2, 10]


class Lucky(Attack):
    """Breaks each image in the restart that `falls` gives it, at the first of its steps."""

    norms = ("linf",)
    cost = ""
    paper = ""
    stops = True
    steps: int = 10
    falls: str = setting(default="0 1 2 4 1000000")

    def loss_reference(self, model, x, y, run):
        return jnp.full(len(x), run % self.restarts)

    def __call__(self, model, threat, x, y, keys):
        falls = [int(word) for word in self.falls.split()]
        hit = jnp.asarray(falls)[jnp.round(x[:, 0, 0, 0] * 255).astype(jnp.int32) % len(falls)] == y
        moved = jnp.clip(x + jnp.where(hit, threat.eps, 0.0)[:, None, None, None], 0, 1)
        passes = jnp.where(hit, 1, self.steps).astype(jnp.int32)
        return Proposal(moved, passes, passes)


def test_restarts_double_while_the_last_doubling_breaks_many(data):
    result = judged(data, AttackSpec("lucky", Lucky(restarts=2)))
    found = result.attacks[0].convergence
    assert (found.restart_doublings, found.doublings, found.late_steps) == (2, 0, 0)
    assert len(found.after_runs) == 8  # of 2, 4 and 8 restarts only the new ones are done
    (flag,) = converging(result)
    assert (flag.evidence["amount"], flag.evidence["late"]) == ("restarts", found.late_restarts)
    assert "restarts=16" in flag.message and result.exit_code == 3


def test_doubled_restarts_that_find_nothing_settle_it(data):
    result = judged(data, AttackSpec("lucky", Lucky(restarts=2, falls="0 1 1000000")))
    found = result.attacks[0].convergence
    assert (found.restart_doublings, found.late_restarts) == (1, 0) and not converging(result)


def test_doubling_restarts_finds_what_asking_for_twice_as_many_does(data):
    doubled = judged(data, AttackSpec("lucky", Lucky(restarts=2)), doublings=1)
    asked = judged(data, AttackSpec("lucky", Lucky(restarts=4)), doublings=0)
    assert doubled.attacks[0].convergence.restart_doublings == 1
    assert [row.robust for row in doubled.rows] == [row.robust for row in asked.rows]
    assert doubled.attacks[0].convergence.after_runs == asked.attacks[0].convergence.after_runs


class Choosy(Targeted):
    """Breaks an image when aimed at the class of the rank that its first pixel says."""

    norms = ("linf",)
    cost = ""
    paper = ""
    stops = True
    steps: int = 10

    def loss_reference(self, model, x, y, run):
        return TargetedLabels(y, jnp.full(len(x), run // self.restarts))

    def __call__(self, model, threat, x, y, keys):
        hit = jnp.round(x[:, 0, 0, 0] * 255).astype(jnp.int32) % 4 == y.target
        moved = jnp.clip(x + jnp.where(hit, threat.eps, 0.0)[:, None, None, None], 0, 1)
        passes = jnp.where(hit, 1, self.steps).astype(jnp.int32)
        return Proposal(moved, passes, passes)


def test_targets_are_no_restarts(data):
    """A quarter of the images falls to each of three targets: the last one breaks as many as the first."""
    result = judged(data, AttackSpec("choosy", Choosy(targets=3)))
    found = result.attacks[0].convergence
    assert len(found.after_runs) == 3 and found.after_runs[1] > found.after_runs[2] == result.robust.correct > 0
    assert found.late_restarts is None and found.late_steps == 0 and not converging(result)
    twice = judged(data, AttackSpec("choosy", Choosy(targets=3, restarts=2)))
    assert twice.attacks[0].convergence.late_restarts == 0 and not converging(twice)


def test_each_restart_meets_all_targets_before_the_next(data, model, threat):
    specs = [AttackSpec("choosy", Choosy(targets=3, restarts=2))]
    evaluator = Evaluator(model, data, np.arange(N, dtype=np.int32), specs, threat, 0, 16, doublings=0)
    plan = evaluator.attacked().plan
    assert [run for run, _ in plan.order(0)] == [0, 2, 4, 1, 3, 5]
    assert [run for run, _ in plan.order(0, "restarts")] == [2, 6, 10, 3, 7, 11]
    assert [run for run, _ in plan.order(0, "steps")] == [0, 2, 4, 1, 3, 5]


def test_what_can_not_be_told_is_not_judged(data):
    """An attack that goes on after a success, and one whose passes are the adversary's queries."""
    on = judged(data, AttackSpec("late", type("On", (Late,), {"stops": False})()))
    assert on.attacks[0].convergence.late_steps is None and not on.flags
    asking = judged(data, AttackSpec("late", type("Asking", (Late,), {"access": "score"})()))
    (flag,) = converging(asking)
    assert flag.level == "note" and asking.attacks[0].convergence.doublings == 0


class Thorough(Late):
    """Takes all its steps in spite of successes, as attacks do that a noisy model may undo."""

    def __call__(self, model, threat, x, y, keys):
        found = super().__call__(model, threat, x, y, keys)
        all_ = jnp.zeros_like(found.forwards) + self.steps
        return found._replace(forwards=all_, gradients=all_)


def test_an_attack_that_took_all_its_steps_is_judged_by_doubling_them(data):
    spec = AttackSpec("thorough", Thorough(falls="1 2 3 1000000"))
    given, twice = (judged(data, spec, doublings=doublings) for doublings in (0, 2))
    assert not converging(given) and not converging(twice)
    assert (twice.attacks[0].convergence.doublings, twice.attacks[0].convergence.late_steps) == (1, 0)


def test_where_attacks_are_compared_it_is_a_note(data):
    (flag,) = converging(judged(data, AttackSpec("late", Late()), each=True))
    assert flag.level == "note" and flag.evidence["doublings"] == 0


def test_a_missing_flag_is_found(data, tmp_path):
    result = judged(data, AttackSpec("late", Late()), out=tmp_path / "run")
    model = make_model(brightness)
    assert verify(tmp_path / "run", model=model, data=data).failures == []
    path = tmp_path / "run" / "result.json"
    path.write_text(result.model_copy(update={"flags": ()}).to_json())
    assert verify(tmp_path / "run", model=model, data=data).failures == ["verdict: the flag under_converged is missing"]


def test_convergence_counts_what_the_rows_say(model, data, threat):
    result = evaluate(model, data, range(N), attacks("pgd:restarts=2"), threat, seed=0, batch_size=16, doublings=0)
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
    from advbench.core.errors import Interrupted

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
    for module in ("attacks.loop", "evaluation.plan", "evaluation.evaluator", "evaluation.trial"):
        monkeypatch.setattr(f"advbench.{module}.time", clock)
    monkeypatch.setattr("advbench.evaluation.trial.compile_seconds", lambda: 0.0)
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
    specs = attacks("fgsm", "pgd:steps=40,rel_step_size=0.1,restarts=2")
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
