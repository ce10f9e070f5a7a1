"""Threefry on the host and in XLA: the same bits as JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from advbench.core.threefry import key_data, threefry


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(key, counter, words):
    key, counter = np.array(key, np.uint32), np.array(counter, np.uint32)
    assert threefry(key, counter[:, None])[:, 0].tolist() == list(words)
    assert [int(word) for word in jax.jit(threefry2x32_p.bind)(*key, *counter)] == list(words)


def test_xla_computes_what_the_host_does():
    rng = np.random.default_rng(0)
    key, counter = rng.integers(0, 2**32, (2, 1), np.uint32), rng.integers(0, 2**32, (2, 1000), np.uint32)
    found = jax.jit(threefry2x32_p.bind)(*np.broadcast_to(key, (2, 1000)), *counter)
    assert (np.stack(found) == threefry(key, counter)).all()


def test_keys_are_those_of_jax():
    seed, parts, last = 2**31 + 7, (3, 2**32 - 1), np.array([0, 5, 2**31 - 1])
    key = jax.random.key(seed)
    for part in parts:
        key = jax.random.fold_in(key, np.uint32(part))
    wanted = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(last))
    assert (jax.random.key_data(wanted) == key_data(seed, *parts, last=last)).all()
