"""What the parity scripts conclude from what they measured; the reference and the peers are not needed."""

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(HERE))
    try:
        import min_norm
        import parity
        from peers import agreement, rows
    finally:
        sys.path.remove(str(HERE))
    return agreement, rows, parity, min_norm


def test_mcnemar_is_the_two_sided_sign_test(bench):
    mcnemar = bench[0].mcnemar
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 256)
    assert mcnemar(600, 400) < 1e-9  # whole numbers: nothing overflows


def side(agreement, name, robust, attacks):
    return agreement.Side(name, np.array(robust, bool), attacks, [1] * len(attacks), [2.5] * len(attacks))


def test_a_section_counts_images_that_only_one_breaks(bench):
    agreement = bench[0]
    ours = side(agreement, "ours", [0, 0, 0, 1, 1, 0], ["apgd", "square"])
    theirs = side(agreement, "reference", [0, 1, 1, 1, 0, 0], ["apgd-ce"])
    text = agreement.section("title", np.array([1, 1, 1, 1, 1, 0], bool), ours, theirs, ["note"])
    assert "| clean | 5 / 6 | 83.33% |" in text
    assert "| worst of both | 1 / 6 | 16.67% |" in text
    assert "-16.67 points" in text
    assert "same on 3 of 6 images (50.00%); only ours breaks 2, only the reference 1" in text
    assert "exact McNemar p = 1." in text
    assert "| `square` | 1 | 2.5 |  |  |  |" in text
    assert "| all |  | 5.0 | all |  | 2.5 |" in text


def answers_of(agreement, *sizes):
    answers = agreement.Answers("l2", "0.5", "x", 2)
    for size in sizes:
        piece = agreement.Piece(size, {"apgd-ce": 1.5}, {"apgd-ce": size - 1})
        answers.add(np.full((size, 1, 1, 1), size, np.float32), piece)
    return answers


def test_answers_survive_a_file_and_go_on(bench, tmp_path):
    agreement = bench[0]
    before = answers_of(agreement, 2, 3)
    before.save(tmp_path / "a.npz")
    after = agreement.Answers.load(tmp_path / "a.npz")
    assert (after.norm, after.eps, after.version, after.threads, after.done) == ("l2", "0.5", "x", 2, 5)
    assert after.pieces == before.pieces
    after.add(np.zeros((1, 1, 1, 1), np.float32), agreement.Piece(1, {"apgd-ce": 0.0}, {"apgd-ce": 0}))
    after.save(tmp_path / "a.npz")
    assert agreement.Answers.load(tmp_path / "a.npz").first(6)[0].ravel().tolist() == [2, 2, 3, 3, 3, 0]


def test_answers_are_given_for_whole_pieces_only(bench):
    answers = answers_of(bench[0], 2, 3)
    x_adv, pieces = answers.first(2)
    assert len(x_adv) == 2
    assert pieces == answers.pieces[:1]
    with pytest.raises(SystemExit, match="first 2, 5 images, not for 4"):
        answers.first(4)


def test_a_section_replaces_the_one_of_its_name(bench, tmp_path):
    put, page = bench[0].put, tmp_path / "page.md"
    page.write_text("before\n")
    for name, text in (("a", "one"), ("b", "two"), ("a", r"three \\1")):
        put(page, name, text)
    text = page.read_text()
    assert text.startswith("before\n")
    assert "one" not in text
    assert text.index(r"three \\1") < text.index("two")


def test_another_checkout_is_called_another(bench, tmp_path):
    (tmp_path / "autoattack").mkdir()
    (tmp_path / "autoattack" / "autoattack.py").write_text("")
    assert bench[0].version(tmp_path) == "not a392200"


def test_the_command_names_no_path(bench):
    words = "m l2 0.5 9 --reference /a/b --peers /c --answers /d.npz --write"
    assert bench[0].typed(words.split()) == "m l2 0.5 9 --reference DIR --answers FILE"


class Bright:
    """A judge that calls an image class 1 where it is brighter than half."""

    def __init__(self, folder):
        self.folder = folder

    def logits(self, images, n):
        bright = np.load(self.folder / f"{images}.npz")["x"][:n].mean((1, 2, 3))
        return np.stack([0.5 - bright, bright - 0.5], 1)


def test_distances_are_those_of_images_that_fool(bench, tmp_path):
    x = np.full((4, 2, 2, 1), 0.25, np.float32)
    np.savez(tmp_path / "test.npz", x=x, y=np.zeros(4, np.int64))
    adversarial = x.copy()
    adversarial[0] = 0.75
    adversarial[1] = 0.3  # fools not
    adversarial[2, 0] = 1.5  # outside the box
    adversarial[3] = np.nan
    for norm, size in (("linf", 0.5), ("l2", 1.0), ("l1", 2.0), ("l0", 4.0)):
        found = bench[1].distances(Bright(tmp_path), adversarial, norm, 4)
        assert found[0] == pytest.approx(size)
        assert np.isinf(found[1:]).all()


def test_ratios_are_over_images_that_both_fool(bench):
    min_norm = bench[3]
    contest = min_norm.Contest("ddn", "l2", ("Foolbox",), {"steps": 100})
    ours, theirs = np.array([1.0, 1.0, 3.0, np.inf]), np.array([2.0, 1.0, 2.0, 1.0])
    line = min_norm.line(contest, 4, "Foolbox", (ours, 1.0), (theirs, 2.0))
    assert line == ["ddn, l2, steps 100", "4", "Foolbox", "3", "4", "1.000", "33%", "33%", "1.00", "2.00"]
    nothing = min_norm.line(contest, 1, "Foolbox", (np.array([np.inf]), 1.0), (np.array([1.0]), 2.0))
    assert nothing[5:8] == ["", "", ""]


def test_the_documented_page_has_the_markers():
    text = (HERE.parent / "docs" / "parity.md").read_text()
    assert text.count("<!-- min-norm: begin -->") == text.count("<!-- min-norm: end -->") == 1
