"""An attack that needs an adversarial image to begin with: where there is none, the image was not tried."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    Attack,
    Boundary,
    HopSkipJump,
    Proposal,
    RayS,
)
from advbench.attacks.spec import AttackSpec
from advbench.core.errors import Inconclusive, Interrupted
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation import evaluate, verify
from advbench.evaluation.evaluator import Evaluator
from advbench.evaluation.growing import IncrementalEvaluation
from advbench.evaluation.starts import POOL, candidates

SHAPE, N = (6, 6, 1), 10
CHECKS = (np.indices(SHAPE[:2]).sum(0)[..., None] % 2 * 255).astype(np.uint8)
BOUNDARY = AttackSpec("boundary", Boundary(steps=30))
HOPS = AttackSpec("hopskipjump", HopSkipJump(steps=1, initial_num_evals=10))
RAYS = AttackSpec("rays", RayS(queries=200))
EVERYTHING = ThreatSpec.parse("l2", "6")  # the ball that holds every image


def pattern(strength, x):
    """Class 8 but near a pattern, which no noise comes near; of strength 0, always."""
    near = strength * (0.05 - jnp.abs(x - CHECKS / 255.0).mean((1, 2, 3)))
    return 0.01 * jax.nn.one_hot(8, 10) * jnp.ones((len(x), 1)) + near[:, None] * jax.nn.one_hot(3, 10)


def named(strength) -> LoadedModel:
    predict = jax.tree_util.Partial(pattern, jnp.float32(strength))
    return LoadedModel("pattern", predict, SHAPE, 10, None, f"strength {strength}")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Noise of class 8, then the pattern twice: rightly named, and wrongly."""
    noise = np.random.default_rng(1).integers(0, 256, (N, *SHAPE), dtype=np.uint8)
    labels = np.array([8] * N + [5, 3], np.int32)
    classes = tuple("0123456789")
    return Dataset("patterns", "test", np.stack([*noise, CHECKS, CHECKS]), labels, classes, "here", "digest", N + 2)


def judged(model, data, specs, threat=EVERYTHING, **options):
    return evaluate(model, data, range(N), specs, threat, **({"seed": 0, "batch_size": N} | options))


@pytest.mark.parametrize("spec", [BOUNDARY, HOPS], ids=["boundary", "hopskipjump"])
def test_a_ball_that_holds_every_image_leaves_none(spec, images):
    """Every noise is an 8: a test image of another class, which is not among those attacked, is the start."""
    result = judged(named(1.0), images, [spec])
    assert result.clean.correct == N
    assert result.robust.correct == 0 and result.exit_code == 0 and result.skipped == ()


def test_rays_sets_out_towards_an_image_of_another_class(images):
    result = judged(named(1.0), images, [RAYS], ThreatSpec.parse("linf", "0.99"))
    assert result.robust.correct == 0 and result.exit_code == 0


@pytest.mark.parametrize(("spec", "norm"), [(BOUNDARY, "l2"), (HOPS, "l2"), (RAYS, "linf")])
def test_of_a_constant_model_nothing_was_tried(spec, norm, images, tmp_path):
    model, threat = named(0.0), EVERYTHING if norm == "l2" else ThreatSpec.parse("linf", "0.99")
    result = judged(model, images, [spec], threat, out=tmp_path / "run")
    assert not result.complete and result.exit_code == 5
    (skipped,) = result.skipped
    assert (skipped.spec, skipped.reason, skipped.images) == (spec.text, "start", N)
    (flag,) = [flag for flag in result.flags if flag.name == "no_start"]
    assert flag.evidence == {"images": {spec.text: N}}
    assert f"{spec.text} ({N} images)" in flag.message and "upper bound" in flag.message
    assert result.attacks[0].alone is None
    assert verify(tmp_path / "run", model=model, data=images).failures == []
    assert judged(model, images, [spec], threat, out=tmp_path / "run", resume=True) == result  # it is finished


class Homeless(Attack):
    """Finds a start where the first pixel is dark enough; breaks nothing."""

    norms = ("l2",)
    cost = ""
    paper = ""

    def __call__(self, model, threat, x, y, keys):
        none = jnp.zeros(len(x), jnp.int32)
        return Proposal(x, none, none, tried=x[:, 0, 0, 0] < 0.5)


class Jump(Attack):
    """Proposes the pattern, but for images whose first pixel is very bright."""

    norms = ("l2",)
    cost = ""
    paper = ""

    def __call__(self, model, threat, x, y, keys):
        none = jnp.zeros(len(x), jnp.int32)
        return Proposal(jnp.where((x[:, :1, :1] < 0.9), CHECKS / 255.0, x).astype(jnp.float32), none, none)


HOMELESS, JUMP = AttackSpec("homeless", Homeless()), AttackSpec("jump", Jump())


def brightness(data):
    return data.images[:N, 0, 0, 0] / 255


def test_images_that_another_attack_broke_are_not_missed(images):
    bright = brightness(images)
    alone = judged(named(1.0), images, [HOMELESS])
    assert alone.skipped[0].images == (bright >= 0.5).sum() > 0
    both = judged(named(1.0), images, [HOMELESS, JUMP])
    missed = [skipped.images for skipped in both.skipped]
    assert missed == [n for n in [(bright >= 0.9).sum()] if n] and both.robust.correct == (bright >= 0.9).sum()


def test_no_start_in_one_run_is_no_matter_when_another_has_one(images):
    class Again(Homeless):
        def loss_reference(self, model, x, y, run):
            return jnp.full(len(x), run)

        def __call__(self, model, threat, x, y, keys):
            return super().__call__(model, threat, x, y, keys)._replace(tried=(y == 1) | (x[:, 0, 0, 0] < 0))

    result = judged(named(1.0), images, [AttackSpec("again", Again(restarts=2))])
    assert result.complete and result.robust.correct == N


def test_a_gate_is_not_told_that_such_images_are_robust(images):
    model = named(0.0)
    growing = IncrementalEvaluation(
        Evaluator(model, images, np.arange(N, dtype=np.int32), [HOMELESS], EVERYTHING, 0, N)
    )
    with pytest.raises(Inconclusive, match=r"homeless \(no start on \d images\)"):
        growing.extend(N)


def test_a_run_cut_short_knows_which_images_had_a_start(images, tmp_path):
    model, asked = named(1.0), iter(range(9))
    options = {"batch_size": 4, "out": tmp_path / "run"}
    with pytest.raises(Interrupted):
        judged(model, images, [HOMELESS], **options, should_stop=lambda: 2 if next(asked) == 2 else None)
    resumed = judged(model, images, [HOMELESS], **options, resume=True)
    assert resumed.skipped == judged(model, images, [HOMELESS]).skipped


def test_other_starts_do_not_resume(images):
    evaluator = Evaluator(named(1.0), images, np.arange(N, dtype=np.int32), [HOPS], EVERYTHING, 0, N)
    other = replace(images, labels=np.where(images.labels == 3, 4, images.labels))
    assert replace(evaluator, data=other).fingerprint()["starts"] != evaluator.fingerprint()["starts"]
    assert "starts" not in replace(evaluator, attacks=[JUMP]).fingerprint()


def test_the_pool_holds_all_classes_alike_and_the_first_images_of_each():
    labels = np.repeat(np.arange(10), 100)  # sorted by class, as folders are
    chosen = candidates(labels)
    assert len(chosen) == POOL and (np.bincount(labels[chosen]) == POOL // 10).all()
    assert (chosen % 100 < POOL // 10).all()
    assert set(candidates(np.array([7, 7, 2]))) == {0, 1, 2}
    longer = np.concatenate([labels, labels])  # more of the data set changes nothing
    assert candidates(longer).tolist() == chosen.tolist()
