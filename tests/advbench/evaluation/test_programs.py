"""Number of programs that an evaluation compiles: each costs a small run more than its attack."""

import subprocess
import sys
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


def test_a_network_that_breaks_at_once_takes_no_score_attack(compiled):
    advbench.evaluate(linear, (IMAGES, LABELS), norm="linf", eps=0.5, attacks="fgsm", doublings=0)
    # Predictions of 100, 64 and 32 images, gradients, random images, FGSM, PGD on scaled logits; neither Square nor its
    # start.
    assert compiled.total() <= 7, compiled
    assert not compiled["jit(_begin)"], compiled


def test_another_eps_takes_no_program(compiled):
    settings = {"norm": "linf", "attacks": "pgd", "preflight": False, "doublings": 0}
    advbench.curve(linear, (IMAGES, LABELS), eps=[0.0005, 0.0006, 0.0007], **settings)
    assert sorted(compiled) == ["jit(_drawn)", "jit(_many)", "jit(predict)"]
    assert compiled.total() == 3, compiled


def test_evaluating_a_released_model_loads_nothing_that_it_does_not_need():
    code = (
        "import sys, advbench\n"
        "advbench.evaluate('mnist-ibp', n=16, attacks='fgsm', preflight=False)\n"
        "print(sorted({'scipy', 'torch', 'orbax', 'matplotlib', 'onnx', 'jinja2', 'advbench.models.pytorch',"
        " 'advbench.models.aten', 'advbench.defenses'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_training_begins_with_few_programs(compiled):
    data = (np.resize(IMAGES, (100, 16, 16, 1)), LABELS)
    settings = {"defense": "standard", "epochs": 1, "batch_size": 32, "validation": 32}
    advbench.train(data, arch="wong-cnn", norm="linf", eps=0.1, **settings)
    # The initial weights take about 20, operation by operation.
    assert compiled.total() <= 38, compiled
    assert not compiled["jit(copy)"], compiled
