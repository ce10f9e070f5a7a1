"""Laws that hold for every attack and every model, and the bookkeeping that others rely on."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advbench.attacks import (
    APGD,
    ATTACKS,
    CW,
    DDN,
    EAD,
    FAB,
    FGSM,
    FMN,
    NORMS,
    PGD,
    SPSA,
    Boundary,
    CWLinf,
    DeepFool,
    HopSkipJump,
    RayS,
    SimBA,
    Square,
    Threat,
)
from advbench.attacks.base import TargetedLabels
from advbench.attacks.loop import loops_on_device
from advbench.attacks.losses import (
    dlr,
    dlr_to,
    kl,
    margin,
    margin_to,
    misclassified,
)

SMALL = {
    "fgsm": FGSM(),
    "bim": ATTACKS["bim"](),
    "pgd": PGD(steps=12, rel_step_size=0.1),
    "pgd-adam": ATTACKS["pgd-adam"](steps=10),
    "multitargeted": ATTACKS["multitargeted"](steps=12, rel_step_size=0.1, targets=0, loss="margin"),
    "apgd": APGD(steps=12),
    "fab": FAB(steps=12),
    "mi-fgsm": ATTACKS["mi-fgsm"](),
    "di-fgsm": ATTACKS["di-fgsm"](),
    "ti-fgsm": ATTACKS["ti-fgsm"](),
    "vmi-fgsm": ATTACKS["vmi-fgsm"](samples=3),
    "cw": CW(rounds=3, steps=40, lr=0.05, c=0.1),
    "cw-linf": CWLinf(steps=40, lr=0.05, c=0.1, tau_factor=0.7),
    "deepfool": DeepFool(steps=5),
    "ddn": DDN(steps=20),
    "fmn": FMN(steps=60),
    "ead": EAD(rounds=3, steps=40, lr=0.1, c=0.1),
    "square": Square(queries=100),
    "spsa": SPSA(steps=12, samples=16, lr=0.05),
    "simba": SimBA(queries=150),
    "boundary": Boundary(steps=200),
    "hopskipjump": HopSkipJump(steps=4, initial_num_evals=30),
    "rays": RayS(queries=300),
    "uniform-noise": ATTACKS["uniform-noise"](samples=10),
    "gaussian-noise": ATTACKS["gaussian-noise"](samples=10),
    "salt-pepper": ATTACKS["salt-pepper"](samples=10),
    "spatial": ATTACKS["spatial"](angles=5, shifts=3),
}
EPS = {"linf": 0.2, "l2": 0.9, "l1": 3.0, "l0": 8.0, "any": 1.0}
PAIRS = [(name, norm) for name in ATTACKS for norm in ATTACKS[name].norms]


def run(linear, name, norm, eps, rows=slice(None), **changes):
    attack = type(SMALL[name])(**{**vars(SMALL[name]), **changes})
    return attack(linear.model, Threat(NORMS[norm], eps), linear.x[rows], linear.y[rows], linear.keys[rows])


def test_every_attack_is_under_test():
    assert set(SMALL) == set(ATTACKS)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_proposals_stay_in_ball_and_box(name, norm, boxed):
    eps = EPS[norm]
    x = run(boxed, name, norm, eps).x
    stands = boxed.model(x).argmax(-1) == boxed.y
    x = np.asarray(x, np.float64)
    d = (x - np.asarray(boxed.x, np.float64)).reshape(len(x), -1)
    size = {
        "linf": np.abs(d).max(1),
        "l2": np.sqrt((d**2).sum(1)),
        "l1": np.abs(d).sum(1),
        "l0": (np.abs(d) > 1e-6).sum(1),
        "any": np.abs(d).max(1),
    }[norm]
    assert size.max() <= eps + 1e-6
    # The nearest boundaries lie well inside these balls; a minimum-norm attack that reached them all goes no further.
    assert size.max() > 0.3 * eps or (name in ("fab", "fmn") and size.max() > 0.1 * eps and not stands.any())
    assert x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize(("name", "norm"), [pair for pair in PAIRS if pair[1] != "any"])  # there is no eps 0 in "any"
def test_eps_zero_changes_nothing(name, norm, boxed):
    np.testing.assert_allclose(run(boxed, name, norm, 0.0).x, boxed.x, atol=1e-6)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_no_image_depends_on_its_neighbours(name, norm, boxed):
    """Among others, in another order, an image fares the same; the shape stays, so that nothing recompiles."""
    whole = run(boxed, name, norm, EPS[norm] / 2)
    rows = np.array([5, 3, 4] + [0] * 9)
    part = run(boxed, name, norm, EPS[norm] / 2, rows)
    np.testing.assert_allclose(part.x, whole.x[rows], atol=2e-5)
    np.testing.assert_array_equal(part.gradients, whole.gradients[rows])
    np.testing.assert_array_equal(part.forwards, whole.forwards[rows])


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "cw"])
def test_works_under_jit_as_it_does_eagerly(name, inner):
    threat = Threat(NORMS["linf"], 0.03)
    traced = jax.jit(lambda attack, keys: attack(inner.model, threat, inner.x, inner.y, keys).x)
    eager = SMALL[name](inner.model, threat, inner.x, inner.y, inner.keys).x
    np.testing.assert_allclose(traced(SMALL[name], inner.keys), eager, atol=1e-5)


def test_more_steps_never_raise_robust_accuracy(boxed):
    threat = Threat(NORMS["linf"], 0.12)
    left = []
    for steps in (1, 2, 4, 8, 16, 32):
        attack = PGD(steps=steps, rel_step_size=0.1, start="clean")
        x_adv = attack(boxed.model, threat, boxed.x, boxed.y, boxed.keys).x
        left.append(int((boxed.model(x_adv).argmax(-1) == boxed.y).sum()))
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


def test_a_success_is_never_walked_away_from():
    """A model fooled only in a narrow band of brightness: steps of eps/2 land in it, then leave it."""

    def band(x):
        s = x.reshape(len(x), -1).mean(-1)
        return jnp.stack([jnp.abs(s - 0.7) - 0.05, 0 * s], -1)

    model, y = jax.tree_util.Partial(band), jnp.array([0], jnp.int32)
    x = jnp.full((1, 4, 4, 1), 0.5)
    threat, keys = Threat(NORMS["linf"], 0.4), jax.random.split(jax.random.key(0), 1)
    for steps in (1, 2, 3, 4):
        stays = PGD(steps=steps, rel_step_size=0.45, start="clean")
        assert bool(misclassified(model(stays(model, threat, x, y, keys).x), y)[0])
    wanders = PGD(steps=2, rel_step_size=0.45, start="clean", keep=False)
    assert not bool(misclassified(model(wanders(model, threat, x, y, keys).x), y)[0])


def test_gradients_are_counted_per_image(boxed):
    counted = run(boxed, "pgd", "linf", 0.2)
    assert int(counted.gradients.max()) <= 12 and int(counted.gradients.min()) >= 1
    np.testing.assert_array_equal(run(boxed, "pgd", "linf", 0.2, keep=False).gradients, 12)
    np.testing.assert_array_equal(run(boxed, "fgsm", "linf", 0.2).gradients, 1)


def test_targets_follow_the_classes(inner):
    attack = PGD(targets=9)
    assert attack.runs(4) == 3 and attack.runs(10) == 9 and PGD(restarts=5, targets=2).runs(10) == 10
    logits = np.asarray(inner.model(inner.x))
    for rank in range(3):
        loss_reference = attack.loss_reference(inner.model, inner.x, inner.y, rank)
        order = np.argsort(-logits, axis=-1)  # the label itself comes first: the model is right on all
        np.testing.assert_array_equal(loss_reference.target, order[:, rank + 1])


@pytest.mark.parametrize(
    ("attack", "norm", "says"),
    [
        (PGD(steps=0), "linf", "steps >= 1"),
        (PGD(rel_step_size=2 / 255), "linf", "units of eps"),
        (PGD(loss="hinge"), "linf", "no loss 'hinge'"),
        (PGD(loss="kl", targets=2), "linf", "no loss 'kl'"),
        (PGD(start="edge"), "linf", "no start 'edge'"),
        (PGD(restarts=0), "linf", "at least one restart"),
        (PGD(targets=-1), "linf", "targets >= 0"),
        (APGD(loss="kl"), "linf", "no loss 'kl'"),
        (APGD(large_eps=True), "l2", "in l1 only"),
        (APGD(steps=0), "linf", "steps >= 1"),
        (APGD(rho=1.0), "linf", "rho between"),
        (CW(), "l1", "can't attack in l1"),
        (CW(restarts=2), "l2", "all be the same"),
        (CW(c=0.0), "l2", "c > 0"),
    ],
)
def test_what_cannot_work_is_refused(attack, norm, says):
    with pytest.raises(ValueError, match=says):
        attack.check(Threat(NORMS[norm], 0.1))


def test_losses_by_hand():
    z = jnp.array([3.0, 1.0, 0.5, -2.0])
    assert float(margin(z, 0)) == pytest.approx(-2.0) and float(margin(z, 2)) == pytest.approx(2.5)
    assert float(margin_to(z, TargetedLabels(jnp.array(0), jnp.array(1)))) == pytest.approx(-2.0)
    assert float(dlr(z, 0)) == pytest.approx(-(3 - 1) / (3 - 0.5))
    assert float(dlr(z, 1)) == pytest.approx((3 - 1) / (3 - 0.5))
    assert float(dlr_to(z, TargetedLabels(jnp.array(0), jnp.array(3)))) == pytest.approx(-(3 + 2) / (3 - (0.5 - 2) / 2))
    p, q = jax.nn.softmax(z), jax.nn.softmax(z[::-1])
    assert float(kl(z[::-1], z)) == pytest.approx(float((p * jnp.log(p / q)).sum()), rel=1e-5)
    assert float(kl(z, z)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_work(classes):
    from tests.attacks.conftest import make

    linear = make(0.4, 0.6, classes=classes)
    for attack in (PGD(loss="dlr"), PGD(loss="dlr", targets=9)):
        for run in range(attack.runs(classes)):
            loss_reference = attack.loss_reference(linear.model, linear.x, linear.y, run)
            x_adv = attack(linear.model, Threat(NORMS["linf"], 0.3), linear.x, loss_reference, linear.keys).x
            assert bool(jnp.isfinite(x_adv).all())
        assert float((linear.model(x_adv).argmax(-1) != linear.y).mean()) > 0.5


def test_dlr_is_blind_to_the_scale_of_the_logits(inner):
    scaled = jax.tree_util.Partial(lambda w, x: 8192 * (x.reshape(len(x), -1) @ w), inner.weights)
    threat = Threat(NORMS["linf"], 0.02)
    attack = PGD(loss="dlr", start="clean", keep=False)
    plain = attack(inner.model, threat, inner.x, inner.y, inner.keys).x
    np.testing.assert_allclose(attack(scaled, threat, inner.x, inner.y, inner.keys).x, plain, atol=1e-5)


def test_plain_convolutions_are_stepped_from_the_host_on_cpu(inner):
    kernel = jax.random.normal(jax.random.key(5), (3, 3, 2, 4))  # equal classes would leave only rounding to climb
    plain = jax.tree_util.Partial(
        lambda k, x: jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).mean((1, 2)),
        kernel,
    )
    nested = jax.tree_util.Partial(jax.jit(plain.func), kernel)
    assert jax.default_backend() != "cpu" or not loops_on_device(plain, inner.x)
    assert jax.default_backend() != "cpu" or not loops_on_device(nested, inner.x)
    assert loops_on_device(inner.model, inner.x)
    # and the result is the same either way
    x_adv = SMALL["pgd"](plain, Threat(NORMS["linf"], 0.1), inner.x, inner.y, inner.keys).x
    traced = jax.jit(lambda k: SMALL["pgd"](plain, Threat(NORMS["linf"], 0.1), inner.x, inner.y, k).x)(inner.keys)
    np.testing.assert_allclose(x_adv, traced, atol=1e-5)


def test_the_documentation_names_every_attack_with_what_it_needs():
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()
    for name, attack in ATTACKS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert [cell.strip() for cell in row.split("|")[3:7]] == [
            ", ".join(attack.norms),
            attack.access,
            attack.cost,
            attack.paper,
        ]
