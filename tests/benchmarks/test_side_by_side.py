"""What the side-by-side runs conclude from what they measured; the peers themselves are not needed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(HERE))
    try:
        from peers import contest, rows, tables
    finally:
        sys.path.remove(str(HERE))
    return contest, rows, tables


class Fake:
    """A worker that calls class 1 whatever is brighter than half on average."""

    def __init__(self, folder, seconds=1.0, shift=0.0):
        self.folder, self.seconds, self.shift = folder, seconds, shift
        self.rows, self.versions, self.asked = ["pgd"], {"fake": "1"}, 0

    def logits(self, images, n):
        x = np.load(self.folder / f"{images}.npz")["x"][:n]
        bright = x.mean((1, 2, 3))
        return np.stack([0.5 - bright, bright - 0.5], 1)

    def time(self, row, *, tuned, images, n, settings, warm):
        assert warm or self.asked
        self.asked += 1
        x = np.load(self.folder / f"{images}.npz")["x"][:n]
        return self.seconds / (1 + tuned), x + np.float32(self.shift)


@pytest.fixture
def images(tmp_path):
    x = np.full((10, 2, 2, 1), 0.4, np.float32)
    x[5:] = 0.1
    np.savez(tmp_path / "test.npz", x=x, y=np.zeros(10, np.int64))
    return tmp_path


def row(rows, **changes):
    return rows.Row("pgd", "PGD", 10, {"batch": 5}, **({"radius": 0.3, "tolerance": 0.01} | changes))


def test_judge_counts_what_fools_inside_the_ball(bench, images):
    _, rows, _ = bench
    x = np.load(images / "test.npz")["x"]
    for change, robust, excess in ((0.2, 0.5, 0.0), (0.05, 1.0, 0.0), (0.55, 1.0, 0.25)):
        score = rows.Score()
        rows.judge(row(rows), Fake(images), x + np.float32(change), score)
        assert score.robust == pytest.approx(robust)
        assert score.excess == pytest.approx(excess, abs=1e-6)


def test_judge_sees_pixels_outside_the_box(bench, images):
    _, rows, _ = bench
    score = rows.Score()
    rows.judge(row(rows), Fake(images), np.load(images / "test.npz")["x"] - np.float32(0.2), score)
    assert score.excess == pytest.approx(0.1, abs=1e-6)


def test_turns_are_interleaved_and_ratios_are_of_the_fastest_peer(bench, images):
    _, rows, tables = bench
    workers = {"advbench": Fake(images, 1.0, 0.2), "PyTorch": Fake(images, 4.0, 0.2), "ART": Fake(images, 8.0, 0.2)}
    result = rows.race(row(rows), workers, 3)
    assert [len(score.seconds) for score in result.scores.values()] == [3] * 5
    assert (result.best(tuned=False), result.best(tuned=True)) == (4.0, 2.0)
    text, faults = tables.report([result], workers, 2, "make bench", 3)
    assert not faults
    assert "| 1.00 | 10 | 4.00 / 2.00 |" in text
    assert "| 0.25 | 0.50 |" in text
    assert "They agree." in text


def test_what_takes_long_is_timed_once(bench, images):
    _, rows, _ = bench
    workers = {"advbench": Fake(images, 1.0), "ART": Fake(images, 2 * rows.LONG + 1)}
    scores = rows.race(row(rows), workers, 3).scores
    assert {key: len(score.seconds) for key, score in scores.items()} == {
        ("advbench", False): 3,
        ("ART", False): 1,
        ("ART", True): 1,
    }


def test_a_peer_that_disagrees_is_named(bench, images):
    _, rows, tables = bench
    workers = {"advbench": Fake(images, shift=0.2), "PyTorch": Fake(images, shift=0.0)}
    text, faults = tables.report([rows.race(row(rows), workers, 1)], workers, 2, "make bench", 1)
    assert len(faults) == 2
    assert "pgd, PyTorch leaves 100.0% standing, we 50.0%" in text


def test_epochs_are_scaled_to_the_whole_set(bench):
    _, rows, tables = bench
    epoch = rows.Row("pgd-at", "epoch", 3000, {"batch": 128}, images="train")
    result = rows.Result(epoch, {("advbench", False): rows.Score([2.0]), ("ART", False): rows.Score([4.0])})
    result.scores["ART", True] = rows.Score([8.0])
    assert "| epoch, one epoch | 40.00 | 1,500 |" in tables.times([result])
    assert "80.00 / 160.00 | 0.50 | 0.25 |" in tables.times([result])


def test_the_page_keeps_its_prose(bench, tmp_path):
    from peers.agreement import put

    page, begin, end = tmp_path / "page.md", "<!-- measured: begin -->", "<!-- measured: end -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    put(page, "measured", "new")
    put(page, "measured", "newer")
    assert page.read_text() == f"before\n{begin}\nnewer\n{end}\nafter\n"


@pytest.mark.parametrize("section", ["measured", "users' networks", "growth"])
def test_the_documented_page_has_the_markers(section):
    text = (HERE.parent / "docs" / "benchmarks.md").read_text()
    assert text.count(f"<!-- {section}: begin -->") == text.count(f"<!-- {section}: end -->") == 1


def test_a_worker_that_fails_is_named(bench, tmp_path, monkeypatch):
    contest, _, _ = bench
    monkeypatch.setattr(contest, "HERE", tmp_path)
    script = f"import sys; sys.path.insert(0, {str(HERE / 'peers')!r})\nfrom worker import serve\n"
    (tmp_path / "one.py").write_text(script + "serve({'bad': lambda job: 1 / 0}, None, {'one': '1'})\n")
    np.savez(tmp_path / "weights.npz")
    np.savez(tmp_path / "test.npz", x=np.zeros((1, 2, 2, 1)), y=np.zeros(1))
    worker = contest.Worker("one.py", Path(sys.executable), tmp_path)
    assert worker.versions == {"one": "1"} and worker.rows == ["bad"]
    with pytest.raises(SystemExit, match=r"one\.py, bad: ZeroDivisionError"):
        worker.time("bad", tuned=False, images="test", n=1, settings={"batch": 1}, warm=False)
    worker.process.stdin.close()
    assert worker.process.wait(10) == 0


def test_an_installed_environment_is_left_alone(bench, tmp_path, monkeypatch):
    contest, _, _ = bench
    (tmp_path / "pyproject.toml").write_text('[dependency-groups]\npeers = ["a==1"]\n')
    home = tmp_path / "home"
    home.mkdir()
    (home / ".ready").write_text(json.dumps(["a==1"]))
    monkeypatch.setattr(contest.venv, "create", lambda *_, **__: pytest.fail("made again"))
    contest.install(tmp_path, home)
