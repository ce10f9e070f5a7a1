"""Where the model that attacks climb is not the one that judges: what was claimed, and what the judge undid."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.tree_util import Partial

from advbench.attacks import Attack, Proposal, Randomised
from advbench.attacks.losses import misclassified
from advbench.attacks.spec import AttackSpec
from advbench.evaluation import Result, evaluate
from advbench.evaluation.verification import verify
from advbench.wrappers.facing import NonAdaptive

from .conftest import N, attacks, make_model, network


class First(Attack):
    """Keep the first of 16 random images that fools, as if draws were all the same; claims nothing itself."""

    norms = ("linf",)
    cost = ""
    paper = ""

    def __call__(self, model, threat, x, y, keys):
        best, found = x, jnp.zeros(len(x), bool)
        for i in range(16):
            drawn = jax.vmap(threat.start)(jax.vmap(jax.random.fold_in, (0, None))(keys, i), x)
            best = jnp.where(found[:, None, None, None], best, drawn)
            found |= misclassified(model(drawn), y)
        passes = jnp.full(len(x), 16, jnp.int32)
        return Proposal(best, passes, 0 * passes)


def shaken(weights, x, key, *, sigma):
    return network(weights, x + sigma * jax.random.normal(key, x.shape))


def shaken_model(sigma):
    plain = make_model()
    return replace(plain, predict=Randomised(Partial(shaken, *plain.predict.network.args, sigma=sigma), draws=8))


@pytest.fixture(scope="module")
def random_model():
    return shaken_model(0.3)


def judged(model, data, threat, *specs, **options):
    return evaluate(model, data, range(N), list(specs), threat, seed=0, batch_size=32, doublings=0, **options)


def names(result):
    return {flag.name: flag for flag in result.flags}


def test_luck_that_the_judge_undoes_makes_a_result_invalid(random_model, data, threat, tmp_path):
    result = judged(random_model, data, threat, AttackSpec("first", First()), out=tmp_path / "run")
    (report,) = result.attacks
    assert report.undone > 0.3 * report.claimed
    assert report.claimed - report.broke <= report.undone <= report.tried - report.broke
    flag = names(result)["undone_successes"]
    assert (flag.level, result.exit_code) == ("invalid", 3)
    assert flag.evidence["attacks"]["first"]["undone"] == report.undone
    assert verify(tmp_path / "run", model=random_model, data=data).failures == []

    path = tmp_path / "run" / "result.json"
    path.write_text(result.model_copy(update={"flags": ()}).to_json())
    assert "the flag undone_successes is missing" in str(
        verify(tmp_path / "run", model=random_model, data=data).failures
    )
    more = report.model_copy(update={"claimed": report.tried, "undone": 0})
    path.write_text(result.model_copy(update={"attacks": (more,)}).to_json())
    assert "claims rejected" in str(verify(tmp_path / "run", model=random_model, data=data).failures)


def test_attacks_that_choose_by_margin_are_not_undone(data, threat):
    pgd, square = attacks("pgd:steps=12,rel_step_size=0.2", "square:queries=30")
    result = judged(shaken_model(0.05), data, threat, pgd, square)
    assert "undone_successes" not in names(result)
    assert names(result)["unsteady_answers"].evidence["attacks"] == [square.text]
    assert result.attacks[0].claimed > 0
    assert result.attacks[0].forwards == result.attacks[0].tried * 8 * (12 + 13)
    assert result.attacks[0].gradients == result.attacks[0].tried * 8 * 12


def test_a_plain_model_undoes_nothing(model, data, threat):
    result = judged(model, data, threat, *attacks("pgd:steps=12,rel_step_size=0.2", "square:queries=30"))
    assert [report.undone for report in result.attacks] == [0, 0]
    assert 0 < result.attacks[0].claimed <= result.attacks[0].broke
    assert result.exit_code == 0


def test_an_attack_that_does_not_know_the_defense_is_not_believed(model, data, threat):
    """A defense that shows black and white alone: the bare network is fooled, the defended one often is not."""

    def coarse(weights, x):
        return network(weights, jnp.round(x))

    plain = make_model(coarse)
    right = replace(data, labels=jnp.asarray(plain.predict(data.images / jnp.float32(255))).argmax(1).astype("int32"))
    unaware = replace(plain, predict=NonAdaptive(plain.predict, model.predict))
    pgd = AttackSpec.parse("pgd:steps=12,rel_step_size=0.2", threat)
    result = judged(unaware, replace(right, labels=jax.device_get(right.labels)), threat, pgd)
    assert "don't know the defense" in names(result)["undone_successes"].message
    assert result.attacks[0].gradients == 12 * result.attacks[0].tried  # no image rests on what fools the bare network


def test_older_results_say_nothing_of_claims(model, data, threat, tmp_path):
    result = judged(model, data, threat, *attacks("fgsm"), out=tmp_path / "run")
    old = result.model_dump_json().replace(f'"claimed":{result.attacks[0].claimed},"undone":0,', "")
    assert Result.from_json(old).attacks[0].undone is None
    (tmp_path / "run" / "result.json").write_text(old)
    assert verify(tmp_path / "run", model=model, data=data).failures == []
