"""A folder of images is trained on, attacked, certified, gated and verified: five commands, five calls, one answer."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import advbench
from advbench.certification import Certificate
from advbench.cli import app
from advbench.evaluation import Result
from advbench.gating.verdict import Gate

NET = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, shape, classes, *, rngs):
        self.first = nnx.Linear(shape[0] * shape[1] * shape[2], 8, rngs=rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.first(x.reshape(len(x), -1) - 0.5)))
"""
DEFENSE = "pgd:steps=2,rel_step_size=0.6"
ATTACKS = ("fgsm", "pgd:steps=3,rel_step_size=0.4")
COMMANDS = {
    "train": f"train shapes --arch net.py:Net --defense {DEFENSE} --norm linf --eps 4/255 --epochs 3 --batch-size 10 "
    "--lr 0.02 --out typed",
    "attack": f"attack typed --attack {ATTACKS[0]} --attack {ATTACKS[1]} --preflight none --batch-size 10 "
    "--out attacked",
    "certify": "certify typed --method crown --run attacked --batch-size 10 --json proof.json",
    "gate": f"gate typed --attack {ATTACKS[0]} --attack {ATTACKS[1]} --min-robust 5% --min-clean 10% --preflight none "
    "--batch-size 10 --out gated --json gate.json",
    "verify": "verify attacked --json",
}


def draw(folder, count, seed):
    """Three classes of 8x8 images in colour: one bright channel each, in noise that hides some of it."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        image = rng.integers(60, 190, (8, 8, 3))
        image[..., number % 3] += rng.integers(0, 40)
        place = folder / ("red", "green", "blue")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(place / f"{number:02}.png")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Outputs of the commands, and results of the calls, by step."""
    place = tmp_path_factory.mktemp("same")
    draw(place / "shapes" / "train", 60, 0)
    draw(place / "shapes" / "test", 30, 1)
    (place / "net.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        done = {step: CliRunner().invoke(app, words.split()) for step, words in COMMANDS.items()}
        assert {step: each.exit_code for step, each in done.items()} == dict.fromkeys(COMMANDS, 0), {
            step: each.output for step, each in done.items() if each.exit_code
        }
        typed = {
            "train": advbench.load_model("typed"),
            "attack": Result.load(Path("attacked")),
            "certify": Certificate.model_validate_json(Path("proof.json").read_bytes()),
            "gate": Gate.load(Path("gate.json")),
            "verify": json.loads(done["verify"].stdout),
        }
        recipe = {"epochs": 3, "batch_size": 10, "lr": 0.02}
        model = advbench.train("shapes", "net.py:Net", DEFENSE, norm="linf", eps="4/255", out="called", **recipe)
        asked = {"attacks": ATTACKS, "preflight": "none", "batch_size": 10}
        result = advbench.evaluate(model, **asked, out="again")
        called = {
            "train": model,
            "attack": result,
            "certify": advbench.certify(model, method="crown", run=result, batch_size=10),
            "gate": advbench.gate(model, **asked, norm="linf", eps="4/255", min_robust="5%", min_clean="10%"),
            "verify": advbench.verify("again", model=model),
        }
    return typed, called


def told(result):
    """All that a result says but for who asked, when, and how long it took."""
    content = result.model_dump()
    for key in ("command", "started", "seconds"):
        del content["provenance"][key]
    for key in ("name", "source", "record"):
        del content["model"][key]
    for attack in content["attacks"]:
        del attack["seconds"], attack["compile_seconds"]
    return content


def test_the_network_trained_is_the_same(both):
    typed, called = (each["train"] for each in both)
    assert typed.digest == called.digest
    found = [
        {k: v for k, v in each.record["validation"].items() if k != "images_per_second"} for each in (typed, called)
    ]
    assert found[0] == found[1]
    assert typed.record["data"] == called.record["data"]
    assert called.record["data"]["classes"] == ["blue", "green", "red"]


def test_the_evaluation_is_the_same_and_says_something(both):
    typed, called = (each["attack"] for each in both)
    assert told(typed) == told(called)
    assert 0 < typed.robust.correct < typed.clean.correct and typed.robust.n == 30
    assert any(row.distance for row in typed.rows)


def test_the_proof_is_the_same(both):
    typed, called = (each["certify"] for each in both)
    assert [row.model_dump() for row in typed.rows] == [row.model_dump() for row in called.rows]
    assert typed.certified == called.certified and typed.certified.correct > 0
    assert typed.certified.correct <= both[0]["attack"].robust.correct


def test_the_gate_is_the_same(both):
    typed, called = (each["gate"] for each in both)
    assert typed.outcomes == called.outcomes and typed.verdict == called.verdict == "pass"
    assert list(map(told, typed.results)) == list(map(told, called.results))


def test_the_verification_is_the_same(both):
    typed, called = (each["verify"] for each in both)
    assert typed["verified"] and not called.failures
    assert typed["claims"] == {claim.name: claim.failures for claim in called.claims}
    assert typed["ties"] == called.ties
