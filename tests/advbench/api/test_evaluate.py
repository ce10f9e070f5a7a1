"""Evaluating from Python: the same as the command line, on whatever arrays and models there are."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import advbench
from advbench.api.keywords import Options
from advbench.api.settings import Settings
from advbench.attacks import FGSM, PGD
from advbench.attacks.spec import AttackSpec, attacks_of, text_of
from advbench.cli import app
from advbench.core.errors import InvalidEvaluation, UsageError
from advbench.core.spec import ThreatSpec

from .tiny import linear, noise

SHAPE, CLASSES = (12, 20, 3), 3
MINE = """
import numpy as np

def net():
    w = np.random.default_rng(0).normal(size=(720, 3)).astype(np.float32)
    return lambda x: x.reshape(len(x), -1) @ w
"""
FAST = {"norm": "linf", "eps": "1/255", "attacks": "fgsm", "preflight": False}


def timeless(result):
    """A result in JSON without what differs from run to run."""
    content = json.loads(result)
    for key in ("started", "seconds", "command"):
        del content["provenance"][key]
    for attack in content["attacks"]:
        del attack["seconds"], attack["compile_seconds"]
    return content


def test_python_and_the_command_line_find_the_same(tmp_path, monkeypatch):
    images, labels = noise(SHAPE, CLASSES, 24)
    labels[:2] = (labels[:2] + 1) % CLASSES
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = ["attack", "mine.py:net", "--data", "own.npz", "--norm", "linf", "--eps", "8/255", "-n", "20"]
    done = CliRunner().invoke(app, [*words, "--batch-size", "20", "--json", "r.json"])
    assert done.exit_code in (0, 3), done.output
    settings = {"norm": "linf", "eps": "8/255", "n": 20, "batch_size": 20}
    if done.exit_code:
        with pytest.warns(UserWarning, match="can't be trusted"):
            result = advbench.evaluate("mine.py:net", "own.npz", **settings)
    else:
        result = advbench.evaluate("mine.py:net", "own.npz", **settings)
    assert timeless(result.to_json()) == timeless((tmp_path / "r.json").read_text())
    assert result.robust.accuracy < result.clean.accuracy == 0.9
    assert [attack.spec for attack in result.attacks][:3] == ["fgsm", "apgd", "apgd:loss=dlr"] or len(
        result.attacks
    ) == 4


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_any_number_of_classes_on_images_that_are_no_squares(classes):
    images, labels = noise(SHAPE, classes)
    result = advbench.evaluate(linear(SHAPE, classes), (images, labels), **FAST)
    assert (result.clean.accuracy, result.data.n, len(result.data.classes)) == (1.0, 12, classes)
    channels_first = np.moveaxis(images, -1, 1) / np.float32(255)
    again = advbench.evaluate(linear(SHAPE, classes), (jnp.asarray(channels_first), labels), **FAST)
    assert (again.data.digest, again.model.digest) == (result.data.digest, result.model.digest)
    assert again.robust == result.robust


def test_attacks_are_texts_or_objects():
    threat = ThreatSpec.parse("linf", "8/255")
    for attack in (FGSM(), PGD(steps=100, restarts=5), PGD(loss="margin", keep=False, rel_step_size=0.1)):
        assert AttackSpec.parse(text_of(attack), threat).attack == attack
    texts = [spec.text for spec in attacks_of([FGSM(), "pgd:steps=100", PGD(steps=100), "fgsm"], threat)]
    assert texts == ["fgsm", "pgd:steps=100"]
    with pytest.raises(UsageError, match="can't reach the edge"):
        attacks_of([PGD(steps=2)], threat)
    with pytest.raises(UsageError, match="is no attack"):
        attacks_of([7], threat)


def test_a_curve_takes_several_eps():
    images, labels = noise((5, 6, 3), 3)
    model = linear((5, 6, 3), 3)
    found = advbench.curve(model, (images, labels), **FAST | {"eps": [0.02, "1/1000"]})
    assert [result.threat.eps for result in found] == ["1/1000", "0.02"]
    assert found[0].robust.accuracy >= found[1].robust.accuracy
    with pytest.raises(UsageError, match=r"advbench\.curve"):
        advbench.evaluate(model, (images, labels), **FAST | {"eps": "1/255,2/255"})


def test_what_makes_numbers_worthless_ends_it_unless_forced():
    images, labels = noise((5, 6, 3), 3)

    def constant(x):
        return jnp.zeros((len(x), 3)) * x.sum() + jnp.nan

    told = FAST | {"preflight": "none"}
    with pytest.raises(InvalidEvaluation, match="nonfinite_outputs"):
        advbench.evaluate(constant, (images, labels), **told)
    with pytest.warns(UserWarning, match="nonfinite_outputs"):
        result = advbench.evaluate(constant, (images, labels), **told, force=True)
    assert result.robust.accuracy == 0


IMAGES, LABELS = noise((5, 6, 3), 3)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ((IMAGES, np.eye(3)[LABELS]), {}, "one-hot"),
        ((IMAGES.astype(np.float32), LABELS), {}, "outside .0, 1.: divide by 255"),
        ((IMAGES[0], LABELS[:1]), {}, "5 images but 1 labels"),
        ((IMAGES, LABELS[:3]), {}, "12 images but 3 labels"),
        ((IMAGES, LABELS / 2), {}, "give class numbers as integers"),
        ((IMAGES, LABELS, LABELS), {}, "give .images, labels."),
        (IMAGES, {}, "data are ndarray"),
        (None, {}, "does not say which data it is for"),
        ((IMAGES, LABELS), {"n": 13}, "fewer than the 13"),
        ((IMAGES, LABELS), {"indices": [0, 0]}, "twice"),
        ((IMAGES, LABELS), {"resize": 8}, "are for image files"),
        ((IMAGES, LABELS), {"resume": True}, "needs the run directory"),
        ((IMAGES, LABELS), {"preflight": "some"}, "should be True, False"),
        ((IMAGES, LABELS), {"attacks": "pgdd"}, "unknown attack"),
    ],
)
def test_mistakes_are_told_in_one_line(data, settings, message):
    with pytest.raises(UsageError, match=message) as told:
        advbench.evaluate(linear((5, 6, 3), 3), data, **FAST | settings)
    assert "\n" not in str(told.value)


def test_no_threat_is_guessed_for_unknown_data():
    with pytest.raises(UsageError, match="no perturbation that is usual"):
        advbench.evaluate(linear((5, 6, 3), 3), (IMAGES, LABELS), preflight=False)


def test_every_setting_is_an_option_of_evaluate_and_is_shown_by_help():
    import inspect

    assert Options.__annotations__.keys() == Settings.names() - {"norm", "eps"}
    for function in (advbench.evaluate, advbench.curve):
        assert Settings.names() <= inspect.signature(function).parameters.keys()
    documented = str(advbench.evaluate.__doc__)
    assert [name for name in Settings.names() if name not in documented] == []
