"""Preparation of jax for commands that compute."""

import contextlib
import os
import platform
from pathlib import Path
from zlib import crc32

from advbench.core.errors import InvalidEvaluation

MISCOMPILES = {"0.10.2": "jax-ml/jax#39103"}


def prepare() -> None:
    """Keep compiled programs on disk, so that the next command starts faster. Call it before jax is imported.

    The native kernel is built in the background, if this is its first use.

    They are stored in the cache folder of the platform. `JAX_COMPILATION_CACHE_DIR` names another folder, and
    `JAX_ENABLE_COMPILATION_CACHE=false` stores none.

    Raises
    ------
    InvalidEvaluation
        When this version of jax is known to compute wrongly.
    """
    # XLA calls every program from the cache suspect, over features of its own that no processor has.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # jax's own default, which its child processes inherit
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import jax

    if jax.__version__ in MISCOMPILES:
        issue = MISCOMPILES[jax.__version__]
        raise InvalidEvaluation(f"jax {jax.__version__} computes wrongly on CPU ({issue}); install another version")
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        with contextlib.suppress(OSError):  # a read-only home: compile every time
            jax.config.update("jax_compilation_cache_dir", str(_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if os.environ.get("ADVBENCH_NATIVE") != "0":
        from advbench.nn.native.build import begin

        begin()  # the compiler has a core of its own while everything else is imported


def _folder() -> Path:
    """Make and return the folder for programs of this kind of processor: those compiled for another one may crash."""
    import platformdirs

    processor = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    folder = platformdirs.user_cache_path("advbench", appauthor=False) / f"compiled-{crc32(processor.encode()):08x}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
