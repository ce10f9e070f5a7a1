"""`advbench corruptions`: a table of kinds and severities, all of whose numbers are in the JSON."""

import json
from pathlib import Path


def test_every_cell_of_the_table_is_counted(run):
    words = (
        "--data",
        "mnist",
        "-n",
        "50",
        "--kind",
        "shot-noise",
        "--kind",
        "stripe",
        "--severity",
        5,
        "--severity",
        1,
    )
    got = run("corruptions", "mine.py:net", *words, "--json", "c.json", "--markdown", "-")
    assert got.exit_code == 0, got.output
    result = json.loads(Path("c.json").read_text())
    cells = result["corrupted"]
    assert [(c["kind"], c["severity"]) for c in cells] == [(k, s) for k in ("shot-noise", "stripe") for s in (1, 5)]
    assert all(c["rate"]["n"] == 50 for c in cells)
    assert all(f"{c['rate']['accuracy']:.1%}" in got.stdout for c in cells)
    mean = sum(c["rate"]["accuracy"] for c in cells) / 4
    assert abs(result["mean"] - mean) < 1e-12 and f"{mean:.1%}" in got.stdout
    assert result["clean"]["accuracy"] >= cells[0]["rate"]["accuracy"] > cells[3]["rate"]["accuracy"]
    other = run("corruptions", "mine.py:net", *words, "--json", "-", "--batch-size", 7)
    assert json.loads(other.stdout) == result


def test_what_the_data_does_not_have_is_refused(run):
    got = run("corruptions", "mine.py:net", "--data", "mnist", "--kind", "snow")
    assert got.exit_code == 2 and "mnist corruption" in got.stderr
    got = run("corruptions", "mine.py:net")
    assert got.exit_code == 2 and "--data" in got.stderr
