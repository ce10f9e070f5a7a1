"""Provenance of results: versions, device, settings, commit, and the time spent compiling."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp

from advbench.nn import native

_compiled = 0.0


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    global _compiled  # noqa: PLW0603 - the one counter behind JAX's one listener
    if event.startswith("/jax/core/compile/"):
        _compiled += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


def compile_seconds() -> float:
    """Return the seconds that this process has spent so far on tracing, lowering and compiling."""
    return _compiled


def versions() -> dict[str, str]:
    """Return the versions of Python and the computing packages, and the state of the native convolutions.

    The native convolutions are part of it because they round differently from XLA's.
    """
    packages = ("advbench", "jax", "jaxlib", "flax", "numpy")
    found = {"python": platform.python_version()} | {name: version(name) for name in packages}
    return found | {"native convolutions": native.status()}


def machine() -> dict[str, Any]:
    """Return the device and the numeric settings, as fields of `Provenance`."""
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "x64": jnp.result_type(float).itemsize == 8,
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"] or "default"),
    }


def commit() -> str | None:
    """Return the commit checked out in the working directory, else the one that CI names, in hex; None without either.

    Uncommitted changes are ignored.
    """
    command = ("git", "rev-parse", "--verify", "HEAD")
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # no git, or one that hangs
        told = ""
    found = (text.strip().lower() for text in (told, *map(os.environ.get, ("GITHUB_SHA", "CI_COMMIT_SHA"))) if text)
    return next((text for text in found if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text)), None)
