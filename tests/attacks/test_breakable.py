"""Two linear classes: below the nearest distance no attack can break an image, above the farthest a good one must."""

import numpy as np
import pytest

from advbench.attacks import ATTACKS, NORMS, Threat
from tests.attacks.conftest import make
from tests.attacks.test_minnorm import deep, nearest

# Enough work for a linear model, and the part of eps within which every image must fall.
ENOUGH = {
    "fgsm": ({"loss": "margin"}, 0.97),
    "bim": ({"steps": 100, "rel_step_size": 0.05}, 0.97),
    "pgd": ({"steps": 300, "rel_step_size": 0.05}, 0.97),
    "pgd-adam": ({"steps": 200}, 0.97),
    "multitargeted": ({"steps": 300, "rel_step_size": 0.05, "targets": 1}, 0.97),
    "apgd": ({}, 0.97),
    "fab": ({}, 0.97),
    "mi-fgsm": ({"steps": 40}, 0.97),
    "di-fgsm": ({"steps": 40}, 0.8),  # it climbs the slope of images that were made smaller
    "ti-fgsm": ({"steps": 40}, 0.4),  # it climbs a blurred slope
    "vmi-fgsm": ({"steps": 40}, 0.97),
    "cw": ({"steps": 1000}, 0.97),
    "cw-linf": ({"steps": 300, "tau_factor": 0.97, "tau_smallest": 1e-3, "c": 0.01}, 0.88),
    "deepfool": ({}, 0.97),
    "ddn": ({"steps": 300}, 0.97),
    "fmn": ({"steps": 300}, 0.97),
    "ead": ({"steps": 500, "rule": "l1"}, 0.92),  # its elastic net also weighs L2
    "square": ({"queries": 2000}, 0.9),
    "spsa": ({}, 0.9),
    "simba": ({"queries": 2000, "step_size": 0.005}, 0.8),
    "boundary": ({"steps": 5000}, 0.8),
    "hopskipjump": ({"steps": 20}, 0.8),
    "rays": ({"queries": 3000}, 0.9),
    # Controls: they must break nothing that is out of reach, and need not break anything.
    "uniform-noise": ({}, 0.0),
    "gaussian-noise": ({}, 0.0),
    "salt-pepper": ({}, 0.0),
    "spatial": ({}, 0.0),
}
LOOSER = {
    ("fgsm", "l1"): 0.0,  # one step along many pixels
    ("bim", "l1"): 0.9,
    ("pgd", "l1"): 0.9,
    ("multitargeted", "l1"): 0.9,
    ("apgd", "l1"): 0.75,  # its steps are never sparser than the best point so far
    ("pgd-adam", "l2"): 0.65,  # Adam moves all pixels alike
    ("square", "l2"): 0.55,  # squares of at least 3 x 3 of 5 x 5 pixels
    ("square", "l1"): 0.3,
    ("fmn", "l0"): 0.8,
}
LONG = {"hopskipjump"}  # computes longer than it compiles
PAIRS = [(name, norm) for name in ATTACKS for norm in ATTACKS[name].norms if norm != "any"]


def test_every_attack_is_under_test():
    assert set(ENOUGH) == set(ATTACKS)


@pytest.mark.parametrize(
    ("name", "norm"), [pytest.param(*pair, marks=[pytest.mark.optimised] * (pair[0] in LONG)) for pair in PAIRS]
)
def test_exactly_the_breakable_fall(name, norm):
    settings, within = ENOUGH[name]
    attack, within = ATTACKS[name](**settings), LOOSER.get((name, norm), within)
    linear = deep() if norm == "l0" else make(0.4, 0.6, classes=2)
    distance = nearest(linear, norm)

    def broken(eps):
        threat = Threat(NORMS[norm], float(eps))
        attack.check(threat)
        fell = np.zeros(len(distance), bool)
        for run in range(attack.runs(2)):
            loss_reference = attack.loss_reference(linear.model, linear.x, linear.y, run)
            x_adv = attack(linear.model, threat, linear.x, loss_reference, linear.keys).x
            fell |= np.asarray(linear.model(x_adv).argmax(-1) != linear.y)
        return fell

    assert not broken(distance.min() * 0.999).any()
    if within:
        assert broken(distance.max() / within).all()
