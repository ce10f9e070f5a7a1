"""Number of programs that an evaluation compiles: each costs a small run more than its attack."""

from collections import Counter

import jax
import jax.monitoring
import numpy as np
import pytest

import advbench

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """Programs compiled from here on, by name."""
    jax.clear_caches()
    found, listening = Counter(), [True]

    def count(event, _, **facts):
        if event == COMPILED and listening:
            found[facts["fun_name"]] += 1

    jax.monitoring.register_event_duration_secs_listener(count)  # there is no public way to remove one
    yield found
    listening.clear()


def linear(x):
    return x.reshape(len(x), -1) @ WEIGHTS


WEIGHTS = np.random.default_rng(0).normal(size=(75, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (100, 5, 5, 3), np.uint8)
LABELS = (IMAGES.reshape(100, -1) / np.float32(255) @ WEIGHTS).argmax(1)


def test_an_attack_with_its_preflight_checks_takes_few_programs(compiled):
    advbench.evaluate(linear, (IMAGES, LABELS), norm="linf", eps=0.0005, attacks="pgd", doublings=0)
    # Predictions of 100, 64 and 32 images, gradients, random images, PGD and its start, PGD on scaled logits, Square
    # with its start and its end.
    assert compiled.total() <= 11, compiled
    assert compiled["jit(predict)"] <= 3, compiled
    public = {name for name in compiled if not name.startswith("jit(_")}
    assert public == {"jit(predict)", "jit(gradient_sizes)"}, compiled


def test_another_eps_takes_no_program(compiled):
    settings = {"norm": "linf", "attacks": "pgd", "preflight": False, "doublings": 0}
    advbench.curve(linear, (IMAGES, LABELS), eps=[0.0005, 0.0006, 0.0007], **settings)
    assert sorted(compiled) == ["jit(_drawn)", "jit(_many)", "jit(predict)"]
    assert compiled.total() == 3, compiled
