"""Processes of one job, on one machine or many: joining it, and ending together."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from advbench.core.errors import AdvbenchError, DataUnavailable, UsageError

HEARTBEAT = 60  # seconds of silence after which a process counts as gone
JOIN = 300  # seconds to wait for all of them at the start


def join() -> None:
    """Join the other processes of this job; call before any device is used.

    SLURM, Open MPI, Kubernetes jobs and TPU pods are recognised by their environment. Elsewhere three variables say it:
    `JAX_COORDINATOR_ADDRESS` (host:port of process 0), `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`.

    Raises
    ------
    UsageError
        When there is no such job, or not all of its processes joined.
    """
    import jax
    from jax.experimental.multihost_utils import sync_global_devices

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    jax.config.update("jax_enable_recoverability", True)  # or it kills this process before we can say why
    try:
        jax.distributed.initialize(
            num_processes=_number("JAX_NUM_PROCESSES"),
            process_id=_number("JAX_PROCESS_ID"),
            initialization_timeout=JOIN,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
        with _stdout_kept_clean():
            sync_global_devices("joined")
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"--distributed found no job to join ({_line(error)}); outside of SLURM, Open MPI, Kubernetes and TPU pods "
            "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from None


@contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Send to stderr what Gloo prints on stdout, which is for the results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def together() -> Iterator[None]:
    """End a process at once on an error within the block, in one line, so that the others notice."""
    import jax

    try:
        yield
    except AdvbenchError as error:
        if jax.process_count() == 1:
            raise
        _leave(error)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if jax.process_count() == 1 or not re.match("[A-Z_]+: ", str(error)):  # a status of the runtime's
            raise
        _leave(
            DataUnavailable(
                f"another process of this job ended; start all of them again with --resume ({_line(error)})"
            )
        )
    if jax.process_count() > 1:
        _part()


def _part() -> None:
    """Leave the job; process 0, which coordinates it, leaves last."""
    import jax
    from jax.experimental.multihost_utils import live_devices

    if jax.process_index() == 0:
        # Entered once every other process has signed off, or was silent for HEARTBEAT seconds. Recoverable processes
        # don't wait for each other, and one that finds nobody to sign off at is killed by its runtime. Who fails
        # this late leaves nothing undone here.
        with suppress(Exception), live_devices(jax.devices()):
            pass
    jax.distributed.shutdown()


def _leave(error: AdvbenchError) -> None:
    """End without waiting for the others; a regular exit of JAX would wait."""
    print(f"advbench: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"{name}={text!r} should be a whole number")
    return int(text)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
