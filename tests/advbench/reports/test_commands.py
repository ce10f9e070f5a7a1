"""`report`, `compare` and `history`, on runs made by hand."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from advbench.cli import app
from advbench.evaluation import provenance
from advbench.evaluation.comparison import Comparison
from advbench.evaluation.history import History
from advbench.evaluation.paired import Difference
from advbench.evaluation.result import Result

from .runs import Data, store


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Invoke `advbench` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def stored(make, tmp_path, monkeypatch):
    """`stored("a", robust=60, fell=...)` -> a run directory `a` in the working directory."""
    data = Data()
    monkeypatch.setattr("advbench.data.again", lambda *_: data)

    def of(name, *, changes=None, fell=None, **options):
        result = make(**options)
        if fell is not None:
            rows = [row.model_copy(update=_fate(row.index in fell)) for row in result.rows]
            correct = len(rows) - len(fell)
            rate = result.robust.of(correct, len(rows))
            result = result.model_copy(update={"rows": tuple(rows), "robust": rate})
        return store(tmp_path / name, result, data, **(changes or {}))

    return of


def _fate(fell):
    return {"robust": not fell, "broken_by": "fgsm" if fell else None, "distance": 0.3 if fell else None}


def when(day, commit=None):
    return {"provenance__started": f"2026-01-{day:02}T00:00:00+00:00", "provenance__commit": commit}


def test_a_report_is_a_table_unless_told_otherwise(run, stored):
    stored("a")
    assert "robust accuracy" in run("report", "a").stdout
    done = run("report", "a", "--html", "a.html", "--markdown", "-")
    assert done.exit_code == 0
    assert done.stdout.startswith("**net on 100 mnist test images")
    assert run("report", "a", "--html", "-").stdout.startswith("<!DOCTYPE html>")


def test_several_runs_go_into_one_table_each_under_a_name_of_its_own(run, stored):
    stored("a")
    stored("b/eps-0.2", eps="0.2", robust=70)
    stored("b/eps-0.1", eps="0.1", robust=80)
    stored("c", changes={"model__digest": "other"})
    told = run("report", "a", "b", "c", "--markdown", "-").stdout
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in told.splitlines() if "linf" in line]
    assert [(name.replace("\\", ""), threat) for name, threat, _ in rows] == [
        ("net (a)", "linf eps 0.3"),
        ("net (b/eps-0.1)", "linf eps 0.1"),
        ("net (b/eps-0.2)", "linf eps 0.2"),
        ("net (c)", "linf eps 0.3"),
    ]


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ({}, "complete"),
        ({"reason": "time"}, "incomplete"),
        ({"reason": "queries"}, "incomplete"),
        ({"reason": "target"}, "incomplete"),
        ({"flags": [("target_failed", "invalid")]}, "invalid"),
    ],
    ids=str,
)
def test_runs_are_told_of_however_they_ended(ended, state, run, stored):
    skipped = [{"spec": "fgsm", "runs": 1, "images": 3, "reason": ended["reason"]}] if "reason" in ended else []
    flags = ended.get("flags", [("target_failed", "note")] * (ended.get("reason") == "target"))
    stored("a", flags=flags, changes={"skipped": skipped, "complete": not skipped})
    stored("b")
    result = Result.load(Path("a"))
    assert result.state == state
    for words in (("report", "a", "--html", "a.html", "--markdown", "-"), ("history", "."), ("compare", "a", "b")):
        told = run(*words)
        assert told.exit_code in (0, result.exit_code) and "Traceback" not in told.output, told.output
        assert state == "complete" or words[0] == "report" or state in told.stdout


def test_files_of_json_hold_runs_too(run, stored, tmp_path):
    results = [stored("a").result, stored("b", eps="0.1").result]
    (tmp_path / "several.json").write_text("[" + ",".join(result.to_json() for result in results) + "]")
    assert run("report", "several.json", "--markdown", "-").stdout.count("linf eps") == 2
    page = run("report", "several.json", "--html", "-").stdout
    assert "several.json has no images" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "can't read the result nowhere"),
        (["empty"], "empty has no result.json"),
        (["other.json"], "is neither a result nor a gate"),
        (["broken.json"], "is not JSON"),
        (["deep.json"], "is not JSON"),
        (["old.json"], "schema version"),
        (["a", "--html", "nowhere/a.html"], "can't write nowhere/a.html"),
        (["a", "--html", "-", "--markdown", "-"], "only one option"),
        (["a", "a", "--robustbench", "x.json"], "takes one run, and 2 are given"),
    ],
)
def test_a_report_of_what_is_none_ends_in_one_line(run, stored, tmp_path, words, said):
    text = stored("a").result.to_json()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text('{"name": 1}')
    (tmp_path / "broken.json").write_bytes(b"\xff\x00{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "old.json").write_text(text.replace('"schema_version": 1', '"schema_version": 0'))
    done = run("report", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.startswith("advbench: ")
    assert done.stderr.count("\n") == 1


def test_a_comparison_names_the_images_that_changed_sides(run, stored):
    stored("a", fell={1, 2, 3})
    stored("b", fell={3, *range(40, 65)})
    done = run("compare", "a", "b", "--json", "c.json")
    assert done.exit_code == 0
    found = Comparison.model_validate_json(Path("c.json").read_bytes())
    assert found.lost == tuple(range(40, 65))
    assert found.won == (1, 2)
    assert found.robust == Difference.of(
        [i not in (1, 2, 3) for i in range(100)], [i not in {3, *range(40, 65)} for i in range(100)]
    )
    assert (found.robust.lost, found.robust.won) == (25, 2)
    flowing = " ".join(done.stdout.split())
    assert "lost: 25 images: 40, 41, " in flowing
    assert "59 and 5 more" in flowing
    assert "won: 2 images: 1, 2 (" in flowing
    assert "-23.0" in flowing


def test_a_comparison_shows_them(run, stored):
    stored("a", fell={1, 2, 3})
    stored("b", fell={3, 40, 41})
    assert run("compare", "a", "b", "--figure", "c.png", "--html", "c.html").exit_code == 0
    with Image.open("c.png") as drawn:
        assert drawn.size[0] > 700
    page = Path("c.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3 * 4
    assert re.findall(r'alt="Image (\d+), adversarial', page) == ["40", "41", "1", "2"]
    assert "2 images robust before, not after" in page


def test_nothing_that_changed_is_nothing_to_draw(run, stored):
    stored("a", fell={1})
    stored("b", fell={1})
    assert run("compare", "a", "b", "--html", "c.html").exit_code == 0
    assert run("compare", "a", "b", "--figure", "c.png").exit_code == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": "0.2"}, "eps (0.3 and 0.2)"),
        ({"changes": {"threat__norm": "l2"}}, "norm (linf and l2)"),
        ({"n": 50, "robust": 40, "clean": 45}, "images (100 of mnist test, 0..99"),
        ({"changes": {"data__digest": "f" * 64}}, "images ("),
    ],
)
def test_what_was_measured_on_other_grounds_is_not_compared(run, stored, options, said):
    stored("a")
    stored("b", **options)
    done = run("compare", "a", "b")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_the_same_eps_written_otherwise_is_the_same(run, stored):
    stored("a", changes={"threat": {"norm": "linf", "eps": "3/10", "eps_value": 0.3, "eps_exact": "0.3"}})
    stored("b")
    assert run("compare", "a", "b").exit_code == 0


def test_other_attacks_and_seeds_are_said_and_doubtful_numbers_decide_the_exit_code(run, stored):
    stored("a")
    stored("b", flags=[("probabilities", "invalid")], changes={"seed": 3})
    done = run("compare", "a", "b")
    assert done.exit_code == 3
    flowing = " ".join(done.stdout.split())
    assert "seed changed: 0 before, 3 after" in flowing
    assert "the second evaluation is invalid" in flowing


def test_a_folder_of_several_runs_is_not_compared(run, stored):
    stored("a/eps-0.1", eps="0.1")
    stored("a/eps-0.2", eps="0.2")
    done = run("compare", "a", "a/eps-0.1")
    assert done.exit_code == 2
    assert "holds 2 results" in done.stderr


def test_a_history_is_in_order_of_time_and_tells_changes_of_the_same_images(run, stored):
    stored("kept/z", changes=when(1, "a" * 40), fell=set(range(10)))
    stored("kept/a", changes=when(3, "c" * 40), fell=set(range(30)))
    stored("kept/deep/er/m", changes=when(2, "b" * 40), fell=set(range(12)))
    stored("kept/other", eps="0.1", robust=80)
    done = run("history", "kept", "--json", "h.json", "--plot", "h.png")
    assert done.exit_code == 0
    history = History.model_validate_json(Path("h.json").read_bytes())
    series = {one.eps: one.points for one in history.series}
    assert [point.commit[0] for point in series["0.3"]] == ["a", "b", "c"]
    assert [point.robust.correct for point in series["0.3"]] == [90, 88, 70]
    assert [point.change and point.change.lost for point in series["0.3"]] == [None, 2, 18]
    assert len(series["0.1"]) == 1
    assert "-18.0" in done.stdout
    assert np.asarray(Image.open("h.png")).std() > 1


def test_a_history_counts_once_what_is_stored_twice_and_says_where_grounds_changed(run, stored, tmp_path):
    text = stored("kept/a", changes=when(1)).result.to_json()
    (tmp_path / "kept" / "copy.json").write_text(text)
    (tmp_path / "kept" / "unrelated.json").write_text("[1, 2]")
    stored("kept/b", changes=when(2) | {"data__digest": "f" * 64})
    stored("kept/c", changes=when(3) | {"data__digest": "f" * 64, "seed": 9}, flags=[("masked", "invalid")])
    told = run("history", "kept", "--json", "-").stdout
    (series,) = History.model_validate_json(told).series
    assert [point.notes for point in series.points] == [(), ("images changed",), ("seed changed",)]
    assert [point.state for point in series.points] == ["complete", "complete", "invalid"]
    assert "invalid: 2026-01-03" in " ".join(run("history", "kept").stdout.split())


def test_a_history_takes_the_results_of_gates_and_their_verdicts(run, stored, tmp_path):
    result = stored("kept/a").result.model_dump()
    result["provenance"]["started"] = "2026-02-01T00:00:00+00:00"
    gate = {
        "model": "net", "verdict": "fail", "outcomes": [], "error": 0.05, "images": 100, "population": 100, "seed": 0,
        "results": [result], "seconds": 1.0,
    }  # fmt: skip
    (tmp_path / "kept" / "gate.json").write_text(json.dumps(gate))
    (series,) = History.model_validate_json(run("history", "kept", "--json", "-").stdout).series
    assert [point.notes for point in series.points] == [(), ("gate: fail",)]


def test_a_history_names_results_that_it_can_not_read_and_does_not_end_with_0(run, stored, tmp_path):
    stored("kept/a")
    (tmp_path / "kept" / "b").mkdir()
    (tmp_path / "kept" / "b" / "result.json").write_text("{")
    (tmp_path / "kept" / "settings.json").write_text("// not ours")
    done = run("history", "kept")
    assert done.exit_code == 2
    assert "robust accuracy" in done.stdout.lower()
    assert "result.json is not JSON" in done.stderr
    assert "settings" not in done.stderr


@pytest.mark.parametrize(("folder", "code"), [("nowhere", 2), ("a-file", 2), (".", 5)])
def test_a_history_of_nothing(run, tmp_path, folder, code):
    (tmp_path / "a-file").touch()
    assert run("history", folder).exit_code == code


def test_the_commit_is_that_of_the_working_directory_else_what_ci_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GITHUB_SHA", "CI_COMMIT_SHA"):
        monkeypatch.delenv(name, raising=False)
    assert provenance.commit() is None
    monkeypatch.setenv("CI_COMMIT_SHA", "rm -rf /")
    assert provenance.commit() is None
    monkeypatch.setenv("GITHUB_SHA", "A" * 40)
    assert provenance.commit() == "a" * 40
    git = ["git", "-c", "user.email=a@b", "-c", "user.name=a"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance.commit() == head
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    assert provenance.commit() == "a" * 40


def test_results_without_a_commit_are_read(make):
    content = json.loads(make().to_json())
    del content["provenance"]["commit"]
    assert Result.from_json(json.dumps(content)).provenance.commit is None
