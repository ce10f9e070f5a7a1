"""Who competes, where their packages come from, and how they are asked."""

import json
import subprocess
import tomllib
import venv
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CONTESTANTS = {
    "advbench": "with_advbench.py",
    "PyTorch": "with_pytorch.py",
    "torchattacks": "with_torchattacks.py",
    "Foolbox": "with_foolbox.py",
    "ART": "with_art.py",
    "adv-lib": "with_adv_lib.py",
}
REFERENCE = {"auto-attack": "with_reference.py"}  # only where a checkout of it is named
UNDECLARED = "packaging"  # ART imports it without asking for it


def install(root: Path, home: Path) -> None:
    """Make the peers' environment from the `peers` groups of pyproject.toml, unless it is there already."""
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
    alone = groups.get("peers-alone", [])
    wanted = groups["peers"] + alone
    stamp = home / ".ready"
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    print(f"installing {', '.join(wanted)} into {home.name}", flush=True)
    venv.create(home, with_pip=True, clear=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], cwd=root, check=True)
    subprocess.run([*pip, "--group", "peers", UNDECLARED], cwd=root, check=True)
    if alone:
        subprocess.run([*pip, "--no-deps", *alone], cwd=root, check=True)
    stamp.write_text(json.dumps(wanted))


class Worker:
    """A contestant's process; it lives as long as this one, and waits idle between jobs."""

    def __init__(self, script: str, python: Path, folder: Path):
        self.folder = folder
        self.name = script
        command = [str(python), "-W", "ignore", str(HERE / script)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self.ask(row="hello")
        self.versions: dict[str, str] = hello["versions"]
        self.rows: list[str] = hello["rows"]

    def ask(self, **job: Any) -> dict[str, Any]:
        """Send one job and wait for its answer."""
        print(json.dumps(job), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it died"}
        if "error" in answer:
            self.process.communicate()  # its input is closed, and so it ends
            raise SystemExit(f"{self.name}, {job['row']}: {answer['error']} (its own words are above)")
        return answer

    def logits(self, images: str, n: int, tuned: bool = False) -> np.ndarray:
        """Its predictions for the first images of a file, [n, K]."""
        return self._images(row="logits", n=n, tuned=tuned, images=images, settings={"batch": 125})[1]

    def time(self, row: str, *, tuned: bool, images: str, n: int, settings: dict[str, float], warm: bool) -> Any:
        """Seconds that one job took, and the adversarial images [n, H, W, C] if it made any."""
        return self._images(row=row, n=n, tuned=tuned, images=images, settings=settings, warm=warm)

    def _images(self, *, images: str, **job: Any) -> tuple[float, np.ndarray | None]:
        save = self.folder / "answer.npy"
        save.unlink(missing_ok=True)
        files = {"weights": str(self.folder / "weights.npz"), "images": str(self.folder / f"{images}.npz")}
        answer = self.ask(**job, **files, save=str(save))
        return answer.get("seconds", 0.0), np.load(save, allow_pickle=False) if save.exists() else None
