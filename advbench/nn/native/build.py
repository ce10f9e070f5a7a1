"""Build of the native kernel for this processor, once, checked against NumPy before use."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from threading import Thread

import jax
import numpy as np
import platformdirs

_SOURCES = Path(__file__).parent
_MAIN = "entry.cc"
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread", "-w")
_TARGETS = tuple(f"advbench_{name}" for name in ("conv", "images", "relu", "back", "weights", "norm", "norm_back"))
_log = logging.getLogger(__name__)


def problem() -> str | None:
    """Build, check and register the kernel once.

    Returns
    -------
    str or None
        Reason for its absence; None if it is available.
    """
    return None if isinstance(found := _load(), tuple) else found


def lanes() -> tuple[int, ...]:
    """Return the vector widths for which there is a kernel, the largest first; none if it is unavailable.

    A processor with vectors of 16 numbers gets one for 8 as well: networks of 24 or 40 channels are common.

    Returns
    -------
    tuple[int, ...]
        Numbers in a vector.
    """
    return found if isinstance(found := _load(), tuple) else ()


@cache
def begin() -> tuple[Future[Path], ...]:
    """Start the build in the background, where it takes seconds the first time; the first use of the kernel waits.

    Returns
    -------
    tuple[Future[Path], ...]
        The kernel for each vector width.
    """
    return tuple(map(_begun, [(), ("-DLANES=8",)] if "avx512f" in _processor() else [()]))


def _begun(options: Sequence[str]) -> Future[Path]:
    """Build in a thread for which no process waits at its end."""
    found: Future[Path] = Future()

    def build() -> None:
        try:
            found.set_result(_build(options))
        except Exception as error:  # whoever waits gets it
            found.set_exception(error)

    Thread(target=build, daemon=True).start()
    return found


@cache
def _load() -> tuple[int, ...] | str:
    try:
        return tuple(_register(built.result()) for built in begin())
    except (OSError, AttributeError, RuntimeError, subprocess.SubprocessError) as error:
        _log.warning("the native kernel is off, convolutions are slower: %s", error)
        return str(error)


def _register(built: Path) -> int:
    """Register the kernel with XLA, under names that end in its number of lanes."""
    library = ctypes.CDLL(str(built))
    _check(library)
    width = int(library.lanes())
    for name in _TARGETS:
        jax.ffi.register_ffi_target(f"{name}_{width}", jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return width


def _build(options: Sequence[str]) -> Path:
    """Compile unless the cache has it: written beside and renamed, so that several processes may build at once."""
    named = compiler()
    texts = (path.read_text() for path in sorted(_SOURCES.glob("*.[ch]*")))
    key = hashlib.sha256("\n".join((*texts, version("jaxlib"), named, *options, _processor())).encode())
    folder = platformdirs.user_cache_path("advbench") / "native"
    library = folder / f"convolution-{key.hexdigest()[:20]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / library.name
            command = [named, *_FLAGS, *options, "-I", jax.ffi.include_dir(), str(_SOURCES / _MAIN), "-o", str(built)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
            if done.returncode:
                raise RuntimeError(f"{named} failed: {done.stderr.strip().splitlines()[:1]}")
            built.replace(library)
    return library


def compiler() -> str:
    """Find a C++ compiler: the one that `CXX` names, else c++, g++ or clang++.

    Returns
    -------
    str
        Path of the compiler.

    Raises
    ------
    RuntimeError
        When there is none.
    """
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if found is None:
        raise RuntimeError("no C++ compiler found")
    return found


def _processor() -> str:
    """Return the facts on which `-march=native` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join((platform.machine(), platform.processor(), *sorted(kept)))


def _check(library: ctypes.CDLL) -> None:
    """Compare every path with NumPy on odd sizes."""
    rng, whole = np.random.default_rng(0), library.lanes()
    many = 17 * whole  # more weights than the cache is trusted with
    for c, o, window in (*product((whole, 3), (3 * whole, 3), (1, 2)), (many, many, 2)):
        if c == o == 3:
            continue
        x, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 7, 9, c), (3, 3, c, o), (o,)))
        size = (*x.shape, 7, 8, o, 2, 0)
        taps = _taps(x)
        y = _product(taps, kernel)
        _same(library, "conv", (*size, 3, 3, 1), [x, kernel], y)
        size += (window,)
        if o % whole == 0:
            halved = (*x.shape, 4, 4, o, 2, 0, 3, 3, 2)
            _same(library, "conv", halved, [x, kernel], y[:, ::2, ::2])
            slopes, turned = np.zeros_like(y), kernel.reshape(9, c, o).swapaxes(1, 2)
            slopes[:, ::2, ::2] = y[:, ::2, ::2]
            given = [slopes[:, ::2, ::2], turned.reshape(3, 3, o, c)]
            if c % whole == 0:
                back = (*given[0].shape, *x.shape[1:], 2, 0, 3, 3, 2)
                _same(library, "images", back, given, _untaps(np.matmul(slopes, turned[:, None, None]), x.shape))
            _same(library, "weights", (*size[:9], 3, 3, 1), [x, y], _weights(taps, y).reshape(kernel.shape))
            found = _weights(taps, slopes).reshape(kernel.shape)
            _same(library, "weights", halved, [x, y[:, ::2, ::2]], found)
            _check_norm(library, y[:, :5], slopes[:, 1:6], relu=window == 1)
            pooled, codes = _pooled(y + bias, window)
            _same(library, "relu", size, [x, kernel, bias], pooled, codes)
        if c % whole == 0:
            pooled, codes = _pooled(x, window)
            spread = _taps(_spread(pooled, codes, x.shape, window))
            _same(library, "back", size, [pooled, codes, kernel], _product(spread, kernel))


def _same(library: ctypes.CDLL, name: str, size: tuple[int, ...], given: list[np.ndarray], *truth: np.ndarray) -> None:
    found = [np.zeros(t.shape, t.dtype) for t in truth]
    arrays = [np.ascontiguousarray(array) for array in given] + found
    getattr(library, f"alone_{name}")(
        (ctypes.c_int64 * len(size))(*size), *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays)
    )
    for one, other in zip(found, truth, strict=True):
        if not (wrong := np.abs(one - other.astype(np.float64)).max() / max(np.abs(other).max(), 1)) < 1e-5:
            raise RuntimeError(f"the kernel's {name} is wrong by {wrong:.1e} for sizes {size}")


def _taps(x: np.ndarray) -> np.ndarray:
    """Return the nine pixels under each window: 7 x 8 windows, two rows of zeros above, one column right."""
    padded = np.pad(x, ((0, 0), (2, 0), (0, 1), (0, 0)))
    return np.stack([padded[:, i : i + 7, j : j + 8] for i, j in product(range(3), range(3))])


def _untaps(taps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return images of that shape, sums of what each pixel got under each window."""
    b, h, w, c = shape
    out = np.zeros((b, h + 2, w + 1, c), np.float32)
    for tap, (i, j) in zip(taps, product(range(3), range(3)), strict=True):
        out[:, i : i + 7, j : j + 8] += tap
    return out[:, 2:, :w]


def _product(taps: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.tensordot(taps, kernel.reshape(9, *kernel.shape[2:]), ((0, 4), (0, 1)))


def _weights(taps: np.ndarray, dy: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.einsum("tbhwc,bhwo->tco", taps, dy)
    return found


def _check_norm(library: ctypes.CDLL, x: np.ndarray, dy: np.ndarray, *, relu: bool) -> None:
    """Compare batch normalisation with the formulas of its paper (Ioffe and Szegedy 2015, arXiv:1502.03167)."""
    c, epsilon = x.shape[-1], np.full((), 0.1, np.float32)
    size = (x.size // c, c, int(relu))
    scale, bias = 1 + x[0, 0, 0] ** 2, x[0, 0, 1]
    axes, mean, var = (0, 1, 2), x.mean((0, 1, 2)), x.var((0, 1, 2))
    std = np.sqrt(var + epsilon)
    normal = (x - mean) / std
    y = normal * scale + bias
    _same(library, "norm", size, [x, scale, bias, epsilon], np.maximum(y, 0) if relu else y, mean, var)
    g = np.where(y > 0, dy, 0) if relu else dy
    dx = scale / std * (g - g.mean(axes) - normal * (g * normal).mean(axes))
    given = [dy, x, mean, var, scale, bias, epsilon]
    _same(library, "norm_back", size, given, dx, (g * normal).sum(axes), g.sum(axes))


def _pooled(y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ReLU and maximum over windows, and the position of each maximum."""
    b, h, w, o = y.shape
    cut = y[:, : h // window * window, : w // window * window]
    tiles = cut.reshape(b, h // window, window, w // window, window, o).transpose(0, 1, 3, 5, 2, 4)
    tiles = tiles.reshape(*tiles.shape[:4], -1)
    best = tiles.max(-1)
    return np.maximum(best, 0), np.where(best > 0, tiles.argmax(-1) + 1, 0).astype(np.uint8)


def _spread(dy: np.ndarray, codes: np.ndarray, shape: tuple[int, ...], window: int) -> np.ndarray:
    """Return the gradient of `_pooled`, for images of that shape."""
    out = np.zeros(shape, np.float32)
    for k, (i, j) in enumerate(product(range(window), range(window))):
        part = out[:, i : dy.shape[1] * window : window, j : dy.shape[2] * window : window]
        part[...] = np.where(codes == k + 1, dy, 0)
    return out
