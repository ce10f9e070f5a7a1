"""A convolution kernel in C++ that XLA calls on CPU; pure JAX takes over wherever it can't be had.

The source is compiled for this very processor at its first use, into the platform's cache folder, and must agree
with NumPy before it serves. `ADVBENCH_NATIVE=0` switches it off.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
from jax import Array, lax
from jax.custom_batching import custom_vmap

Pads = tuple[tuple[int, int], tuple[int, int]]

_SOURCE = Path(__file__).with_name("winograd.cc")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread", "-w")
_log = logging.getLogger(__name__)


def status() -> str:
    """Say whether the kernel serves: `on`, or `off: ` and the reason. The first call builds it."""
    if os.environ.get("ADVBENCH_NATIVE") == "0":
        return "off: ADVBENCH_NATIVE=0"
    reason = _load()
    return f"off: {reason}" if reason else "on"


def serves(x: Array, window: Sequence[int], *, gradient: bool = False) -> bool:
    """Whether the kernel is there and takes these shapes.

    Parameters
    ----------
    x : jax.Array
        Images [B, H, W, C].
    window : sequence of int
        Shape of the weights, [kh, kw, C, O]. The kernel takes 3x3 in float32, where C and O are multiples of 16, or one
        of them, an image's channels, is at most 4.
    gradient : bool
        Ask for `weight_gradient` in place of `conv`; that one needs O to be a multiple of 16.
    """
    *size, c, o = window
    deep, ends = c % 16 == 0 and (o % 16 == 0 or (o <= 4 and not gradient)), c <= 4 and o % 16 == 0
    fits = size == [3, 3] and (deep or ends) and c * o * x.size > 0 and x.dtype == np.float32
    return fits and status() == "on"


def conv(x: Array, kernel: Array, pads: Pads) -> Array:
    """Cross-correlate with stride 1.

    Parameters
    ----------
    x : jax.Array
        Images [B, H, W, C] float32.
    kernel : jax.Array
        Weights [3, 3, C, O] float32.
    pads : pairs of int
        Rows and columns of zeros (low, high) around the image; negative ones crop.

    Returns
    -------
    jax.Array
        [B, H', W', O] float32, to about 1e-6 of the largest. The same bits whatever the batch and the threads.
    """
    (b, h, w, _), o = x.shape, kernel.shape[3]
    (top, bottom), (left, right) = pads
    return _call("advbench_conv", (b, h + top + bottom - 2, w + left + right - 2, o), top, left)(x, kernel)


def weight_gradient(x: Array, dy: Array, pads: Pads) -> Array:
    """Gradient [3, 3, C, O] of the kernel, for images `x` [B, H, W, C] and the gradient `dy` [B, H', W', O]."""
    return _call("advbench_weights", (3, 3, x.shape[3], dy.shape[3]), pads[0][0], pads[1][0])(x, dy)


def _call(name: str, shape: tuple[int, ...], top: int, left: int) -> Callable[[Array, Array], Array]:
    @custom_vmap
    def call(a: Array, b: Array) -> Array:
        out = jax.ShapeDtypeStruct(shape, np.float32)
        return jax.ffi.ffi_call(name, out)(a, b, top=np.int64(top), left=np.int64(left))

    @call.def_vmap
    def rule(size: int, batched: list[bool], a: Array, b: Array) -> tuple[Array, bool]:
        if name == "advbench_conv" and not batched[1]:  # one kernel: more images
            y = _call(name, (size * shape[0], *shape[1:]), top, left)(a.reshape(-1, *a.shape[2:]), b)
            return y.reshape(size, *shape), True
        rows = [v if many else jnp.broadcast_to(v, (size, *v.shape)) for v, many in zip((a, b), batched, strict=True)]
        return lax.map(lambda pair: call(*pair), tuple(rows)), True

    return call


@cache
def _load() -> str | None:
    """Build, check and register the kernel once; return why not, if not."""
    try:
        library = ctypes.CDLL(str(_build()))
        _check(library)
        for name in ("advbench_conv", "advbench_weights"):
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    except (OSError, AttributeError, RuntimeError, subprocess.SubprocessError) as error:
        _log.warning("the native kernel is off, convolutions are slower: %s", error)
        return str(error)
    return None


def _build() -> Path:
    """Compile unless the cache has it: written beside and renamed, so that processes may build at once."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found")
    key = hashlib.sha256("\n".join((_SOURCE.read_text(), version("jaxlib"), compiler, _processor())).encode())
    folder = platformdirs.user_cache_path("advbench") / "native"
    library = folder / f"winograd-{key.hexdigest()[:20]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / library.name
            command = [compiler, *_FLAGS, "-I", jax.ffi.include_dir(), str(_SOURCE), "-o", str(built)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
            if done.returncode:
                raise RuntimeError(f"{compiler} failed: {done.stderr.strip().splitlines()[:1]}")
            built.replace(library)
    return library


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join((platform.machine(), platform.processor(), *sorted(kept)))


def _check(library: ctypes.CDLL) -> None:
    """Compare every path with NumPy on odd sizes."""
    rng = np.random.default_rng(0)
    for c, o in ((16, 48), (3, 16), (16, 3)):
        x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 7, 9, c), (3, 3, c, o)))
        y, dw = np.zeros((2, 7, 8, o), np.float32), np.zeros_like(kernel)
        padded = np.pad(x, ((0, 0), (2, 0), (0, 1), (0, 0)))
        taps = np.stack([padded[:, i : i + 7, j : j + 8] for i, j in product(range(3), range(3))])
        size = (ctypes.c_int64 * 9)(*x.shape, *y.shape[1:], 2, 0)
        pairs = [(x, kernel, y, np.einsum("tbhwc,tco->bhwo", taps, kernel.reshape(9, c, o)))]
        if o % 16 == 0:
            pairs.append((x, pairs[0][3], dw, np.einsum("tbhwc,bhwo->tco", taps, pairs[0][3]).reshape(dw.shape)))
        for a, b, out, truth in pairs:
            library.alone(out is y, size, *(v.ctypes.data_as(ctypes.c_void_p) for v in (a, b, out)))
            if not (wrong := np.abs(out - truth).max() / np.abs(truth).max()) < 1e-5:
                raise RuntimeError(f"the kernel is wrong by {wrong:.1e} from {c} to {o} channels")
