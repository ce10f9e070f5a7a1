"""`verify` believes nothing: whatever is changed in a run is found."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from advbench.core.errors import UsageError
from advbench.core.intervals import wilson
from advbench.evaluation import evaluate, verify
from advbench.evaluation.tally import AdversarialImages

from .conftest import attacks, make_model, network


@pytest.fixture(scope="module")
def finished(model, data, threat, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    texts = attacks("fgsm", "pgd:steps=5,rel_step_size=0.3")
    return out, evaluate(model, data, range(60), texts, threat, seed=0, batch_size=16, out=out)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the run, and functions to change its result and its images."""
    source, result = finished
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Copy(tmp_path, result)


class Copy:
    def __init__(self, path, result):
        self.path, self.result = path, result
        self.broken = [at for at, row in enumerate(result.rows) if row.broken_by not in (None, "clean")]
        self.robust = [at for at, row in enumerate(result.rows) if row.robust]

    def edit(self, change):
        file = self.path / "result.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    def edit_images(self, change, *, cover=True):
        """Change the images; to cover it up, put their new digest into the result."""
        file = self.path / "adversarial.safetensors"
        arrays = {name: array.copy() for name, array in load_file(file).items()}
        change(arrays)
        save_file(arrays, file)
        if cover:
            self.edit(lambda content: content.update(adversarial_digest=AdversarialImages(**arrays).digest()))


def failures(copy, model, data):
    return "\n".join(verify(copy.path, model=model, data=data).failures)


def test_an_honest_run_verifies(copy, model, data):
    verification = verify(copy.path, model=model, data=data)
    assert verification.failures == []
    assert verification.exit_code == 0
    assert len(verification.claims) == 11
    assert len(copy.broken) > 3
    assert len(copy.robust) > 3


def test_changed_image_is_found_by_its_digest(copy, model, data):
    copy.edit_images(lambda arrays: arrays["x_adv"].__setitem__((0, 0, 0, 0), 0.5), cover=False)
    assert "sha256" in failures(copy, model, data)
    assert verify(copy.path, model=model, data=data).exit_code == 3


def test_image_outside_ball_is_found(copy, model, data):
    def far(arrays):
        arrays["x_adv"][1, 2, 2, 0] += 0.2 if arrays["x_adv"][1, 2, 2, 0] < 0.5 else -0.2

    copy.edit_images(far)
    assert f"geometry: image {copy.broken[1]}: distance" in failures(copy, model, data)


@pytest.mark.parametrize("value", [1.01, -0.01, np.nan, np.inf])
def test_image_outside_box_is_found(copy, model, data, value):
    copy.edit_images(lambda arrays: arrays["x_adv"].__setitem__((0, 0, 0, 0), value))
    assert "outside [0, 1]" in failures(copy, model, data)


def test_image_that_does_not_fool_is_found(copy, model, data):
    at = copy.broken[0]
    copy.edit_images(lambda arrays: arrays["x_adv"].__setitem__(0, data.images[at] / np.float32(255)))
    assert f"image {at}: adversarial prediction" in failures(copy, model, data)


def test_missing_image_and_wrong_shape_are_found(copy, model, data):
    copy.edit_images(lambda arrays: arrays.update(index=arrays["index"][1:], x_adv=arrays["x_adv"][1:]))
    assert "one adversarial image for each row" in failures(copy, model, data)
    copy.edit_images(lambda arrays: arrays.update(x_adv=arrays["x_adv"].reshape(-1, 25)))
    assert "stored images: x_adv is float32" in failures(copy, model, data)


@pytest.mark.parametrize(
    ("where", "field", "value", "found"),
    [
        ("robust", "robust", False, "rows: image"),
        ("robust", "clean_prediction", None, "clean prediction"),
        ("robust", "label", 9, "the label is"),
        ("robust", "index", 99, "distinct images"),
        ("broken", "distance", 0.01, "distance"),
        ("broken", "margin", 9.0, "margin"),
        ("broken", "prediction", None, "adversarial prediction"),
        ("broken", "also_broken_by", ["nothing"], "not attacks of this result"),
        ("broken", "gradients", 10_000, "totals: gradients"),
        ("robust", "finite", False, "though outputs were not finite"),
    ],
)
def test_changed_row_is_found(copy, model, data, where, field, value, found):
    copy.edit(lambda content: content["rows"][getattr(copy, where)[0]].update({field: value}))
    assert found in failures(copy, model, data)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"complete": False}, "complete is False, and 0 attacks were cut short"),
        (
            {"complete": False, "skipped": [{"spec": "fgsm", "runs": 1, "images": 2, "reason": "start"}]},
            "no_start says {}",
        ),
        ({"complete": False, "skipped": [{"spec": "fgsm", "runs": 1, "images": 999, "reason": "start"}]}, "of which"),
    ],
)
def test_what_was_not_tried_must_be_told(copy, model, data, change, found):
    copy.edit(lambda content: content.update(change))
    told = failures(copy, model, data)
    assert "completeness: " in told and found in told


def test_robust_row_turned_broken_and_back_is_found(copy, model, data):
    """A row that claims to be robust, with every total adjusted, still has its image in the way."""

    def heal(content):
        row = content["rows"][copy.broken[0]]
        row.update(robust=True, broken_by=None, distance=None, prediction=row["label"])
        rate(content["robust"], +1)

    copy.edit(heal)
    assert "one adversarial image for each row" in failures(copy, model, data)


def rate(content, more):
    k, n = content["correct"] + more, content["n"]
    low, high = wilson(k, n)
    content.update(correct=k, accuracy=k / n, low=low, high=high)


@pytest.mark.parametrize("which", ["clean", "robust"])
def test_changed_accuracy_is_found(copy, model, data, which):
    copy.edit(lambda content: content[which].update(accuracy=0.99))
    assert f"intervals: {which}" in failures(copy, model, data)


@pytest.mark.parametrize("which", ["clean", "robust"])
def test_consistently_changed_accuracy_is_found(copy, model, data, which):
    copy.edit(lambda content: rate(content[which], +1))
    assert f"totals: {which}" in failures(copy, model, data)


def test_changed_interval_is_found(copy, model, data):
    copy.edit(lambda content: content["attacks"][0]["after"].update(low=0.0))
    assert "intervals: after fgsm" in failures(copy, model, data)


def test_changed_attack_report_is_found(copy, model, data):
    copy.edit(lambda content: rate(content["attacks"][0]["alone"], -1))
    assert "totals: fgsm alone" in failures(copy, model, data)


def test_smaller_eps_is_found(copy, model, data):
    copy.edit(lambda content: content["threat"].update(eps="0.04", eps_value=0.04, eps_exact="1/25"))
    assert "exceeds eps 0.04" in failures(copy, model, data)


def test_contradicting_eps_is_found(copy, model, data):
    copy.edit(lambda content: content["threat"].update(eps="0.5"))
    assert "threat: eps is 0.5, 1/20 and 0.05 at once" in failures(copy, model, data)


def test_other_model_and_other_data_are_found(copy, model, data):
    found = failures(copy, make_model(lambda w, x: -network(w, x), digest="other"), data)
    assert "the model has digest other" in found
    assert "clean prediction" in found
    assert "labels have sha256" in failures(copy, model, replace(data, images=255 - data.images))


def test_a_result_does_not_choose_what_code_runs(copy, data):
    copy.edit(lambda content: content["model"].update(source="os:getcwd"))
    with pytest.raises(UsageError, match="is code"):
        verify(copy.path, data=data)


def test_hidden_flag_is_found(copy, model, data):
    copy.edit(lambda content: content["attacks"][0].update(out_of_bounds=1))
    assert "verdict: the flag proposal_out_of_bounds is missing" in failures(copy, model, data)


def test_invalid_runs_verify_too(data, threat, tmp_path):
    """That a model is never finite is a claim like others."""

    def nan(weights, x):
        return network(weights, x) + jnp.where(x[:, 0, 0] > 0.5, jnp.nan, 0.0)

    model = make_model(nan)
    evaluate(model, data, range(60), attacks("fgsm"), threat, seed=0, batch_size=16, out=tmp_path / "run")
    assert verify(tmp_path / "run", model=model, data=data).failures == []


def test_near_ties_pass_but_are_counted(copy, model, data):
    """Two classes a hair apart may swap between batch shapes; classes clearly apart may not."""

    def nudged(by):
        at = jnp.asarray(data.images[copy.robust[0]] / np.float32(255))
        logits = model.predict(at[None])[0]
        second = jnp.argsort(logits)[-2]
        gap = (logits.max() - logits[second]) * (1 + by)

        def predict(x):
            same = (jnp.abs(x - at) < 1e-6).all((1, 2, 3))
            return model.predict(x) + jnp.where(same, gap, 0.0)[:, None] * jax.nn.one_hot(second, 4)

        return replace(model, predict=jax.tree_util.Partial(predict))

    tied = verify(copy.path, model=nudged(1e-6), data=data)
    assert (tied.failures, tied.ties) == ([], 1)
    assert verify(copy.path, model=nudged(0.5), data=data).exit_code == 3
