"""Checkpoints against flipped bits, full disks, leftovers and runs that are not theirs."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from advbench.defenses import PGDTraining
from advbench.defenses.checkpoints import CheckpointError, Checkpoints, damage
from advbench.defenses.training import Stopped, fit

from .tiny import LINF, RECIPE, Net, blobs, same

TREE = {"w": jnp.arange(6.0).reshape(2, 3), "n": jnp.uint32(7), "key": jax.random.key(5), "none": None}
LIKE = {"w": jnp.zeros((2, 3)), "n": jnp.uint32(0), "key": jax.random.key(0), "none": None}


@pytest.fixture
def kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", {"threat": "linf 0.3", "recipe.lr": "0.1"})
    for step in (10, 20):
        checkpoints.save(step, {**TREE, "n": jnp.uint32(step)}, {"step": step})
    return checkpoints


def heavy(folder):
    """The file that holds most of the arrays."""
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip(file, bit=3):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    file.write_bytes(content)


def refuse(text):
    raise AssertionError(text)


def test_what_is_saved_comes_back(kept):
    tree, ledger = kept.restore(LIKE, refuse)
    assert same(tree, {**TREE, "n": jnp.uint32(20)})
    assert tree["key"].dtype == TREE["key"].dtype
    assert ledger == {"step": 20}


def test_the_newest_two_are_kept(kept):
    kept.save(30, TREE, {"step": 30})
    assert kept.steps() == [30, 20]


@pytest.mark.parametrize("target", ["arrays", "ledger.json", "manifest.json"])
def test_a_flipped_bit_falls_back_to_the_step_before_and_says_where(kept, target):
    folder = kept.folder / "20"
    file = heavy(folder / "arrays") if target == "arrays" else folder / target
    before = file.read_bytes()
    flip(file)
    said = []
    tree, ledger = kept.restore(LIKE, said.append)
    assert ledger == {"step": 10}
    assert int(tree["n"]) == 10
    assert str(folder) in said[0]
    if target != "manifest.json":
        digests = json.loads((kept.folder / "20.damaged" / "manifest.json").read_text())
        assert digests[file.relative_to(folder).as_posix()] in said[0]
        assert "expected" in said[0]
    assert (kept.folder / "20.damaged" / file.relative_to(folder)).read_bytes() != before
    assert kept.steps() == [10]


def test_every_file_is_covered_by_the_manifest(kept):
    folder = kept.folder / "20"
    for file in [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]:
        good = file.read_bytes()
        flip(file, bit=0)
        assert damage(folder), file
        file.write_bytes(good[: len(good) // 2])
        assert damage(folder), file
        file.unlink()
        assert damage(folder), file
        file.write_bytes(good)
        assert damage(folder) is None


def test_no_whole_checkpoint_is_an_error_and_none_at_all_a_fresh_start(kept, tmp_path):
    assert Checkpoints(tmp_path / "nothing", {}).restore(LIKE, refuse) is None
    for step in (10, 20):
        (kept.folder / str(step) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"):
        kept.restore(LIKE, lambda _: None)


def test_leftovers_are_ignored_and_cleared(kept):
    (kept.folder / ".tmp-30").mkdir()
    (kept.folder / ".tmp-30" / "half").write_text("x")
    (kept.folder / "notes").write_text("of a user")
    (kept.folder / "40").mkdir()  # an empty step: Orbax alone would take it for the newest
    said = []
    _, ledger = kept.restore(LIKE, said.append)
    assert ledger == {"step": 20}
    assert len(said) == 1
    kept.save(30, TREE, {"step": 30})
    assert not (kept.folder / ".tmp-30").exists()
    assert (kept.folder / "notes").read_text() == "of a user"


def test_another_run_is_refused_with_what_differs(kept):
    other = Checkpoints(kept.folder, {"threat": "linf 0.2", "recipe.lr": "0.1", "jax": "9"})
    with pytest.raises(CheckpointError) as refused:
        other.restore(LIKE, refuse)
    assert "threat was linf 0.3, is linf 0.2" in str(refused.value)
    assert "jax was absent, is 9" in str(refused.value)
    assert "recipe.lr" not in str(refused.value)


@pytest.mark.parametrize("where", ["arrays", "ledger"])
def test_a_full_disk_leaves_the_old_files_intact(kept, monkeypatch, where):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = {file: file.read_bytes() for file in kept.folder.rglob("*") if file.is_file()}
    with monkeypatch.context() as patch:
        if where == "arrays":
            patch.setattr(ocp.Checkpointer, "save", full)
        else:
            patch.setattr("os.fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device; earlier ones are intact"):
            kept.save(30, TREE, {"step": 30})
    assert {file: file.read_bytes() for file in kept.folder.rglob("*") if file.is_file()} == before
    assert kept.restore(LIKE, refuse)[1] == {"step": 20}


def stopped_twice(out):
    defense = PGDTraining(steps=3, rel_step_size=0.5)
    for count in (5, 6):  # after 4 steps, and 5 more
        asked = iter(range(1, 100))
        with pytest.raises(Stopped):
            fit(
                Net(),
                defense,
                LINF,
                *blobs(),
                RECIPE,
                out=out,
                resume=True,
                should_stop=lambda asked=asked, count=count: 2 if next(asked) == count else None,
            )
    return defense


def test_a_run_goes_on_from_the_good_step_before_and_ends_the_same(tmp_path):
    defense = stopped_twice(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "4", ignore_errors=True)
    flip(heavy(tmp_path / "checkpoints" / "9"))
    resumed = fit(Net(), defense, LINF, *blobs(), RECIPE, out=tmp_path, resume=True)
    assert same(resumed.module, fit(Net(), defense, LINF, *blobs(), RECIPE).module)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"defense": PGDTraining(steps=4, rel_step_size=0.5)}, "defense"),
        ({"threat": type(LINF)(LINF.norm, 0.2)}, "threat"),
        ({"recipe": RECIPE.__class__(**{**RECIPE.__dict__, "lr": 0.5})}, "recipe.lr"),
        ({"labels": blobs()[1][::-1].copy()}, "data"),
        ({"about": {"model": "other"}}, "model"),
    ],
)
def test_a_changed_run_does_not_resume(stopped, change, field):
    given = {"defense": PGDTraining(steps=3, rel_step_size=0.5), "threat": LINF, "recipe": RECIPE, **change}
    images, labels = blobs()
    with pytest.raises(CheckpointError, match=rf"otherwise: {field} was"):
        fit(
            Net(),
            given["defense"],
            given["threat"],
            images,
            given.get("labels", labels),
            given["recipe"],
            out=stopped,
            resume=True,
            about=given.get("about"),
        )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    with pytest.raises(Stopped):
        fit(Net(), PGDTraining(steps=3, rel_step_size=0.5), LINF, *blobs(), RECIPE, out=out, should_stop=lambda: 15)
    return out


def test_a_folder_with_another_run_is_not_overwritten(stopped):
    with pytest.raises(CheckpointError, match="holds another run"):
        fit(Net(), PGDTraining(steps=3, rel_step_size=0.5), LINF, *blobs(), RECIPE, out=stopped)


def test_arrays_come_back_bit_for_bit(tmp_path):
    odd = jnp.array(np.array([np.nan, -0.0, 1e-45, np.inf, 0.1], np.float32))
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, [odd], {})
    (back,), _ = checkpoints.restore([jnp.zeros(5)], refuse)
    assert np.asarray(back).tobytes() == np.asarray(odd).tobytes()
