"""Which of a network's outputs are the logits, and how they become rows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.core.choice import Wanted, picked, row_shape
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.outputs import expecting
from advbench.preflight.classes import single_logit

N = 5
ROWS = np.arange(N * 3, dtype=np.float32).reshape(N, 3)
WIDE = np.ones((N, 7), np.float32)
MAP = np.ones((N, 8, 2, 2), np.float32)
ONE = ROWS[:, :1]
TWO = np.concatenate([np.zeros_like(ONE), ONE], 1)


@dataclass
class Output:
    logits: np.ndarray
    loss: None = None


CHOICES = {
    "one": (ROWS, 3, ROWS),
    "whole images": (ROWS[:, :, None, None], 3, ROWS),
    "channels last": (ROWS[:, None, None, :], 3, ROWS),
    "in a dataclass": (Output(ROWS), 3, ROWS),
    "as Hugging Face names them": ({"loss": np.float32(1), "logits": ROWS, "hidden_states": (WIDE, WIDE)}, 3, ROWS),
    "the only rows of a tuple": ((ROWS, MAP), None, ROWS),
    "the only rows of a tuple, not known how wide": ((np.float32(0), MAP, ROWS), None, ROWS),
    "rows before whole images": ((WIDE[:, :, None, None], ROWS), None, ROWS),
    "by width, of whole images": ((WIDE, ROWS[:, :, None, None]), 3, ROWS),
    "one logit": (ONE, 2, TWO),
    "one logit without an axis": (ONE[:, 0], 2, TWO),
    "one logit of whole images": (ONE[:, :, None, None], 2, TWO),
    "one logit beside features": ((WIDE, ONE), 2, TWO),
    "two logits beside one": ((ONE, WIDE[:, :2]), 2, WIDE[:, :2]),
    "one score of more classes": (ONE, 3, ONE),
    "one score of who knows how many": (ONE, None, ONE),
}


@pytest.mark.parametrize(("outputs", "classes", "logits"), CHOICES.values(), ids=CHOICES)
def test_logits_are_chosen_and_made_rows(outputs, classes, logits):
    np.testing.assert_array_equal(picked(outputs, Wanted(None, classes)), logits)


@pytest.mark.parametrize(
    ("outputs", "classes"), [((ROWS, ROWS), 3), ((ONE, ONE), 2), ((ONE, ROWS[:, :2, None, None]), 2)]
)
def test_which_is_asked_about_where_several_could_be_meant(outputs, classes):
    with pytest.raises(UsageError, match="several outputs"):
        picked(outputs, Wanted(None, classes))


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((5,), (5,)), ((5, 1), (5, 1)), ((5, 1, 1, 1), (5, 1)), ((1, 1, 4), (1, 4)), ((5, 2, 3), (5, 2, 3)), ((), ())],
)
def test_axes_of_length_1_behind_the_batch_are_dropped(shape, rows):
    assert row_shape(shape) == rows


def test_one_logit_of_a_jax_model_is_that_of_class_1_under_jit_and_grad():
    def loss(model, x):
        return (model(x) * jnp.array([1.0, 2.0])).sum()

    w = jnp.arange(4.0)
    made = LoadedModel("net", lambda x: x.reshape(len(x), -1) @ w[:, None], None, None, None, "0")
    model = expecting(made, 2).predict
    x = jnp.ones((3, 2, 2, 1))
    np.testing.assert_array_equal(jax.jit(model)(x), [[0.0, 6.0]] * 3)
    np.testing.assert_array_equal(jax.grad(loss, 1)(model, x).reshape(3, 4), np.tile(2 * w, (3, 1)))


def test_a_note_says_that_there_is_one_logit_and_a_sigmoid_is_invalid():
    z = np.array([-2.0, 0.5, 3.0])
    note = single_logit(np.stack([0 * z, z], 1))
    assert (note.name, note.level) == ("single_logit", "note")
    odds = 1 / (1 + np.exp(-z))
    assert single_logit(np.stack([0 * z, odds], 1)).level == "invalid"
    assert single_logit(np.stack([z, -z], 1)) is None
    assert single_logit(np.stack([0 * z, z, z], 1)) is None
    assert single_logit(np.stack([0 * z, z], 1), labels_alone=True) is None
