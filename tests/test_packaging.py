"""What a user installs: `advbench` alone, whole, from the wheel and from the sdist."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = (
    "advbench/attacks/pgd.py",
    "advbench/defenses/training.py",
    *(f"advbench/nn/native/{path.name}" for path in (ROOT / "advbench/nn/native").glob("*.[ch]*")),
    "advbench/data/embedded/manifest.json",
    "advbench/py.typed",
    "advbench/reports/html/templates/report.html",
    "advbench/reports/html/templates/script.js",
    "advbench/reports/html/templates/style.css",
)


def build(kind: str, folder: Path, tree: Path = ROOT) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return next(folder.iterdir())


def test_the_wheel_installs_nothing_but_advbench(tmp_path):
    names = zipfile.ZipFile(build("wheel", tmp_path)).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"advbench"}
    assert set(NEEDED) <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_sdist_builds_the_same_wheel(tmp_path):
    with tarfile.open(build("sdist", tmp_path / "sdist")) as archive:
        for member in archive:  # our own archive, yet only plain files below its one folder
            assert member.isreg() and member.name.startswith("advbench-")
            target = tmp_path / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())
    tree = next(tmp_path.glob("advbench-*"))
    again = zipfile.ZipFile(build("wheel", tmp_path / "again", tree)).namelist()
    assert sorted(again) == sorted(zipfile.ZipFile(build("wheel", tmp_path / "wheel")).namelist())
