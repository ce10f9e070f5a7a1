"""Run the tests of what `make test` does not install, and fail if one of them is skipped.

`make test-integrations` calls this in an environment that has PyTorch, torchvision, timm, Keras and tensorboardX. A
browser and a model server come from elsewhere: they are looked for, and installed where that is possible. What this
machine can't have is said, with the reason, before and after the tests; the others run.
"""

import argparse
import os
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SERVER = ROOT / ".venv-server"
NEWEST = (3, 12)  # the newest Python that MLServer has a release for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--all", action="store_true", help="fail if this machine lacks something")
    asked, more = parser.parse_known_args()
    os.chdir(ROOT)
    found = {need: reason for need, bring in BRING.items() if (reason := bring())}
    lacking = "\n".join(f"integrations: not tested: {need}: {reason}" for need, reason in found.items())
    print(lacking or "integrations: all is there", flush=True)
    chosen = " and not ".join(["integration", *(f"integration(needs={need!r})" for need in found)])
    skips = Skips()
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "mark.integration(" in path.read_text()]
    code = int(pytest.main(["-m", chosen, *more, *files], plugins=[skips]))
    for skip in skips.seen:
        print(f"integrations: skipped: {skip}")
    if lacking:
        print(lacking)
    return code or int(bool(skips.seen) or (asked.all and bool(lacking)))


class Skips:
    """A plugin that notes what was skipped, and why."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.seen.append(f"{report.nodeid}: {report.longrepr[-1]}")


def chromium() -> str | None:
    """Find or install the browser; say why there is none."""

    def there() -> bool:
        return bool(runpy.run_path(str(TESTS / "advbench/reports/html/browser.py"))["FOUND"])

    if there():
        return None
    if not shutil.which("apt-get"):
        return "there is no Chromium or Chrome on PATH, and no apt-get to install it with"
    if os.geteuid() != 0:
        return "there is no Chromium or Chrome on PATH, and only root can install it: apt-get install chromium"
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        if problem := failed([*apt, *words], DEBIAN_FRONTEND="noninteractive"):
            return f"apt-get {words[0]} failed: {problem}"
    return None if there() else "apt-get installed a package that brings no browser"


def mlserver() -> str | None:
    """Find or make the server's environment, and put it last on PATH; say why there is none."""
    ready = SERVER / ".ready"
    wanted = (ROOT / "pyproject.toml").stat().st_mtime
    if not (ready.exists() and ready.stat().st_mtime >= wanted):
        python = next((path for path in map(shutil.which, pythons()) if path and suits(path)), None)
        if not python:
            return f"MLServer takes no Python after {'.'.join(map(str, NEWEST))}, and no other is on PATH"
        pip = [str(SERVER / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        for command in (
            [python, "-m", "venv", "--clear", str(SERVER)],
            [*pip, "--upgrade", "pip>=25.1"],
            [*pip, "--group", "integrations-server"],
        ):
            if problem := failed(command):
                return f"its environment can't be made: {problem}"
        ready.touch()
    os.environ["PATH"] += os.pathsep + str(SERVER / "bin")
    return None


def pythons() -> list[str]:
    """Interpreters that may make the server's environment: this one, then older ones."""
    return [sys.executable, *(f"python3.{minor}" for minor in range(NEWEST[1], 10, -1))]


def suits(python: str) -> bool:
    """Whether it runs, and MLServer runs on it."""
    return not failed([python, "-c", f"import sys, venv; sys.exit(sys.version_info[:2] > {NEWEST})"])


def failed(command: list[str], **environment: str) -> str | None:
    """Run a command; the last line that it said if it failed."""
    begun = time.monotonic()
    done = subprocess.run(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if (seconds := time.monotonic() - begun) > 5:
        print(f"integrations: {' '.join(command)}: {seconds:.0f} s", flush=True)
    if done.returncode == 0:
        return None
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return said[-1] if said else f"exit code {done.returncode}"


BRING = {"chromium": chromium, "mlserver": mlserver}

if __name__ == "__main__":
    raise SystemExit(main())
