"""Every defense learns, in the loop and at its published settings but for fewer steps."""

import dataclasses

import numpy as np
import pytest

from advbench.core.spec import build
from advbench.defenses import DEFENSES
from advbench.defenses.training import fit
from advbench.nn.frozen import freeze

from .tiny import LINF, RECIPE, Net, blobs

FEWER = {name: f"{name}:steps=3,rel_step_size=0.5" for name in ("pgd", "trades", "mart", "alp")}
FEWER["awp-trades"] = "awp-trades:steps=3,rel_step_size=0.5"
FEWER["free"] = "free:replays=2"
NAMES = [name for name in DEFENSES if not name.startswith("awp-") or name == "awp-trades"]


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name):
    defense = build("defense", FEWER.get(name, name), DEFENSES)
    recipe = dataclasses.replace(RECIPE, epochs=6, lr=0.02)
    fitted = fit(Net(), defense, LINF, *blobs(), recipe)
    x, y = blobs(200, seed=9)
    assert (freeze(fitted.module)(x / np.float32(255)).argmax(-1) == y).mean() > 0.9
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert fitted.best["robust"] > 0.8
