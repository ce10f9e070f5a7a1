"""What holds for every test: cheap compilation, each program once, and bounded memory."""

import gc
import importlib
import lzma
import os
import shutil
import sys
import tempfile
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.testing

ROOT = Path(__file__).parent
LONG = (
    "advbench/core/test_devices.py",
    "defenses/test_train_command.py",
    "defenses/test_overfitting.py",
    "advbench/cli/test_attack.py",
    "advbench/evaluation/test_oracles.py",
)
"""Files that take longest. They go first, so that no worker is left with one of them at the end."""

CHEAP = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true --xla_cpu_multi_thread_eigen=false"
"""Tests check arithmetic, not speed: nearly all their time would go into optimising programs that run once.

There is a worker for each core, so a program gets by with one thread. Level 1 is for tests marked `optimised`, which
compute much with few programs; the others go without any optimisation (`JAX_DISABLE_MOST_OPTIMIZATIONS`), which halves
the time of compiling once more.
"""

PLAIN = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Generate LLVM code directly, not by way of MLIR: it halves the time of compiling. Don't divide it among threads.

For jax 0.10 alone: later ones have no such flag.
"""

gc.set_threshold(20_000, 20, 100)  # tracing makes many small objects that live; looking through them takes 4 % of all


def _compile_cheaply() -> Path | None:
    """Set up XLA by the environment, which the workers of xdist and commands run by tests inherit.

    Every program is compiled once for all of them: what one compiled the others read from a folder of this session.
    Return that folder where this process made it.
    """
    assert "jax" not in sys.modules, "jax was imported before its environment was set"
    old = tuple(map(int, version("jaxlib").split(".")[:2])) == (0, 10)
    flags = f"{CHEAP} {PLAIN}" if old else CHEAP  # a flag that XLA doesn't know ends the process
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}".strip()
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA suspects programs from the cache of features nobody has
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="advbench-tests-")
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


MADE = None if "PYTEST_XDIST_WORKER" in os.environ else _compile_cheaply()


def pytest_unconfigure() -> None:
    """Remove the programs of this session."""
    if MADE is not None:
        shutil.rmtree(MADE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; xdist hands out files in this order (`--no-loadscope-reorder`)."""
    place = {ROOT / name: at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Optimise the programs of a test marked `optimised`, and of the fixtures that it is the first to need."""
    if item.get_closest_marker("optimised") is None:
        return (yield)
    jax = importlib.import_module("jax")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        return (yield)
    finally:
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="session")
def made_once():
    """Unpack embedded files, and build the tree of commands, once a process: hundreds of tests need them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lzma, "decompress", lru_cache(maxsize=8)(lzma.decompress))
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        yield


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forget the programs of a file: they hold gigabytes, and read back from the folder they cost little.

    Linux also grants a process 65,530 mappings, of which every program takes several.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()
