"""Data of one's own through every command: the walk-through in examples/, on images drawn here."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from advbench.cli import app

from .test_attack import in_one_line

WALK = Path(__file__).parents[3] / "examples" / "own-data" / "walk.sh"
SMALL = {"--epochs": "2", "-n": "8", "--min-robust": "5%"}
QUICK = ["--preflight", "none", "--batch-size", "16"]
CHEAP = {"train": QUICK[2:], "attack": QUICK, "gate": QUICK}


def drawn(folder, count, seed):
    """Bright discs and dark squares on a wavering ground, 9x11 pixels; one of them is there twice."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        image = Image.fromarray(rng.integers(90, 140, (9, 11, 3)).astype(np.uint8))
        disc = number % 2
        (ImageDraw.Draw(image).ellipse if disc else ImageDraw.Draw(image).rectangle)(
            (2, 2, 8, 7), fill=(250, 240, 230) if disc else (5, 10, 20)
        )
        place = folder / ("disc" if disc else "square")
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number:02}.png")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """All commands of the example, run in a folder of their own: output by command."""
    place = tmp_path_factory.mktemp("walk")
    drawn(place / "shapes" / "train", 60, 0)
    drawn(place / "shapes" / "test", 24, 1)
    (place / "shapes" / "test" / "disc" / "copy.png").write_bytes((place / "shapes/train/disc/01.png").read_bytes())
    text = WALK.read_text().replace("\\\n", " ").replace('"$DATA"', "shapes")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        for line in re.findall(r"^advbench (.*)$", text, re.MULTILINE):
            words = shlex.split(line)
            words = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
            found[words[0]] = CliRunner().invoke(app, words + CHEAP.get(words[0], []))
    return place, found


@pytest.fixture
def here(walked, monkeypatch):
    place, _ = walked
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_every_command_of_the_example_does_what_it_says(walked):
    place, found = walked
    assert list(found) == ["data", "train", "attack", "verify", "certify", "gate"]
    assert {name: each.exit_code for name, each in found.items()} == dict.fromkeys(found, 0), {
        name: each.output for name, each in found.items() if each.exit_code
    }
    assert "9x11x3" in found["data"].stdout and "1 images are also in train" in found["data"].stdout
    with Image.open(place / "thumbnails.png") as sheet:
        assert sheet.width > 100
    record = json.loads((place / "model" / "model.json").read_text())
    assert record["dataset"] == "shapes" and record["shape"] == [9, 11, 3]
    assert record["record"]["data"]["classes"] == ["disc", "square"] and record["record"]["recipe"]["validation"] == 6
    result = json.loads((place / "attacked" / "result.json").read_text())
    assert result["data"]["name"] == "shapes" and result["data"]["classes"] == ["disc", "square"]
    assert (result["data"]["split"], result["data"]["n"], result["threat"]["eps"]) == ("test", 25, "0.1")


def test_a_threat_has_no_default(here):
    in_one_line(here("train", "shapes"), 2, "--norm linf --eps 8/255", "--norm l2")
    Path("mine.py").write_text(
        "import jax.numpy as jnp\nfrom jax.tree_util import Partial\n\ndef net():\n"
        "    return Partial(lambda w, x: x.reshape(len(x), -1) @ w, jnp.eye(297, 2))\n"
    )
    in_one_line(here("attack", "mine.py:net", "--data", "shapes"), 2, "--norm linf --eps 8/255")
    in_one_line(here("attack", "mine.py:net"), 2, "--data")


def test_other_classes_and_moved_data_are_told(here):
    Path("names.txt").write_text("square\ndisc\n")
    got = here(
        "attack", "model", "--data", "shapes", "--classes", "names.txt", "--attack", "fgsm", "--preflight", "none"
    )
    in_one_line(got, 2, "other classes", "--classes FILE")
    Path("shapes").rename("moved")
    try:
        in_one_line(here("attack", "model", "--attack", "fgsm"), 4, "shapes", "--data")
        got = here("verify", "attacked", "--data", "moved")
        assert got.exit_code == 0, got.output
    finally:
        Path("moved").rename("shapes")


def test_corrupt_images_end_an_inspection_with_4(here):
    Path("shapes/test/disc/bad.jpg").write_bytes(b"no image")
    try:
        got = here("data", "inspect", "shapes", "--json")
        assert got.exit_code == 4
        splits = {each["split"]: each for each in json.loads(got.stdout)["splits"]}
        assert splits["test"]["corrupt"][0].startswith("shapes/test/disc/bad.jpg: ")
        assert splits["test"]["counts"] == {"disc": 13, "square": 12} and splits["train"]["sizes"] == {"9x11x3": 60}
        assert list(splits["test"]["elsewhere"]) == ["train"]
    finally:
        Path("shapes/test/disc/bad.jpg").unlink()


def test_the_list_of_data_sets_names_every_form(here):
    got = here("list", "datasets")
    assert got.exit_code == 0 and all(word in got.stdout for word in (".npz", ".parquet", ".tar", "file.py:function"))
