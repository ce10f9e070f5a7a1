"""`advbench bench`: models down, attacks across, on the same images."""

import json
from pathlib import Path

ATTACKS = ("--attack", "fgsm", "--attack", "pgd:steps=5,rel_step_size=0.5", "--preflight", "none")


def test_a_row_per_model_and_every_attack_on_its_own(run):
    models = ("mine.py:net", "mine.py:blind")
    got = run("bench", *models, "--data", "mnist", "--eps", "0.1", "-n", "48", *ATTACKS, "--json", "b.json")
    assert got.exit_code == 0, got.output
    results = json.loads(Path("b.json").read_text())
    assert [result["model"]["name"] for result in results] == ["mine:net", "mine:blind"]
    for result in results:
        alone = [report["alone"]["accuracy"] for report in result["attacks"]]
        assert len(alone) == 2
        assert result["robust"]["accuracy"] <= min(alone)
        assert f"{result['robust']['accuracy']:.1%}" in got.stdout
    indices = [[row["index"] for row in result["rows"]] for result in results]
    assert indices[0] == indices[1]


def test_bench_takes_one_eps(run):
    got = run("bench", "mine.py:net", "--data", "mnist", "--eps", "0.1,0.2")
    assert got.exit_code == 2
    assert "one eps" in got.stderr


def test_an_invalid_model_spoils_the_bench(run):
    got = run("bench", "mine.py:net", "mine.py:softmax", "--data", "mnist", "-n", "16", "--attack", "fgsm")
    assert got.exit_code == 3
    assert "probabilities" in got.stderr
