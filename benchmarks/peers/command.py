"""The command line, as benchmarks call it."""

import subprocess
import sys
from collections.abc import Collection


def advbench(*arguments: object, allowed: Collection[int] = (0,)) -> str:
    """What a command prints; any other exit code than those `allowed` ends this process too."""
    command = [sys.executable, "-m", "advbench", *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout
