"""Settings of JAX under which everything here is computed, independent of the caller's.

JAX lets a program choose, for a whole process, whether numbers have 64 bits, which types and ranks may be mixed, and
whether a NaN or an infinity is an error. The numbers of this package must not depend on that: under `jax_enable_x64`
loops carry other types and random numbers differ, and attacks use infinities for "not yet". So each entrance to the
package (evaluate, certify, train, an attack's call, ...) computes within `own_settings`, and so does the user's model,
which runs there: it computes in 32 bits unless it asks for fewer. The precision of matrix products is left as it is: it
is a choice between speed and accuracy that results record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax

from advbench.core.threefry import compile_faster

compile_faster()


@contextmanager
def own_settings() -> Iterator[None]:
    """Use the package's settings of JAX within this block, and in functions decorated by it.

    They apply to the calling thread; a thread started within the block does not inherit them.

    Returns
    -------
    Iterator[None]
        Context manager, also a decorator.
    """
    with ExitStack() as stack:
        for setting in (
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.debug_key_reuse(False),
            jax.transfer_guard("allow"),
            jax.default_prng_impl("threefry2x32"),
            jax.threefry_partitionable(True),
            jax.softmax_custom_jvp(True),
        ):
            stack.enter_context(setting)
        yield
