"""Names as papers write them, and numbers as people type them."""

from fractions import Fraction

import pytest

from advbench.api.defaults import cascade
from advbench.attacks import ATTACKS, NORMS, SUITES
from advbench.attacks.spec import AttackSpec, attacks_of
from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.names import (
    ATTACK_NAMES,
    DEFENSE_NAMES,
    found,
    number,
    plain,
)
from advbench.core.spec import Epsilon, ThreatSpec, build
from advbench.data import DATASETS, load
from advbench.data.corruptions import kinds
from advbench.defenses import DEFENSES
from advbench.models.load import load_model, released
from advbench.nn import MODELS
from advbench.wrappers import WRAPPERS

LINF = ThreatSpec.parse("linf", "8/255")
MODEL = LoadedModel("m", lambda x: x, None, None, None, "0", record={"threat": {"norm": "linf", "eps": "0.3"}})


@pytest.mark.parametrize(
    ("known", "others"),
    [
        (NORMS, {}),
        ([*ATTACKS, *SUITES], ATTACK_NAMES),
        (DEFENSES, DEFENSE_NAMES),
        (WRAPPERS, {}),
        (MODELS, {}),
        (released(), {}),
        (DATASETS, {}),
        (kinds(3), {}),
    ],
)
def test_no_two_names_can_be_confused(known, others):
    assert len({plain(name) for name in [*known, *others]}) == len(list(known)) + len(others)
    for stands in others.values():
        assert stands.partition(":")[0] in known


@pytest.mark.parametrize("name", ["Linf", "L_inf", "l-inf", "LINF", "L\u221e", "\u2113\u221e", "linf"])
def test_norms_as_papers_write_them(name):
    assert ThreatSpec.parse(name, "8/255") == LINF


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("PGD:Steps=50", ["pgd:Steps=50"]),
        ("APGD-CE", ["apgd"]),
        ("APGD_T", ["apgd:loss=dlr,targets=9"]),
        ("APGD-DLR:steps=50", ["apgd:loss=dlr,steps=50"]),
        ("MI_FGSM", ["mi-fgsm"]),
        ("AutoAttack", ["apgd", "apgd:loss=dlr,targets=9", "fab:targets=9", "square"]),
        ("Auto-Attack:version=Rand", ["apgd", "apgd:loss=dlr"]),
    ],
)
def test_attacks_as_papers_write_them(typed, texts):
    assert [spec.text for spec in attacks_of([typed], LINF)] == texts


def test_settings_are_found_too():
    assert AttackSpec.parse("PGD:Rel-Step-Size=0.5/10,steps=50", LINF).attack.rel_step_size == 0.05


@pytest.mark.parametrize("text", ["pgdd", "autoattack:version=best", "", "-", "apgd-ce-t"])
def test_what_is_not_plainly_meant_is_refused(text):
    with pytest.raises(UsageError, match="unknown attack"):
        attacks_of([text], LINF)
    with pytest.raises(UsageError, match="unknown thing"):
        found("thing", "AB", ["a-b", "ab"])


def test_defenses_wrappers_models_and_data():
    assert build("defense", "TRADES", DEFENSES) == DEFENSES["trades"]()
    assert build("defense", "PGD-AT", DEFENSES, DEFENSE_NAMES) == DEFENSES["pgd"]()
    assert build("wrapper", "JPEG", WRAPPERS) == WRAPPERS["jpeg"]()
    assert load("MNIST", "Test").name == "mnist"
    assert load_model("MNIST_PGD").name == "mnist-pgd"
    assert found("data set", "CIFAR-10", DATASETS) == "cifar10"
    assert found("model", "WRN-28-10", MODELS) == "wrn-28-10"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.25/255", Fraction(1, 1020)),
        (" 8 / 255 ", Fraction(8, 255)),
        ("3e-1", Fraction(3, 10)),
        ("1/.5", Fraction(2)),
    ],
)
def test_numbers_are_read_exactly(text, value):
    assert number(text) == value == Epsilon.parse(text).value
    assert Epsilon.parse(text).text == text.strip()


@pytest.mark.parametrize("text", ["8/0", "1/2/3", "/", "8/", "/255", "nan", "inf", "eight"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(UsageError, match="not a number"):
        Epsilon.parse(text)


@pytest.mark.parametrize(
    ("classes", "towards"),
    [
        (2, "apgd:loss=margin,targets=1"),
        (3, "apgd:loss=margin,targets=2"),
        (4, "apgd:loss=dlr,targets=3"),
        (10, "apgd:loss=dlr,targets=9"),
        (100, "apgd:loss=dlr,targets=9"),
    ],
)
def test_the_default_attacks_aim_at_classes_that_there_are(classes, towards):
    texts = cascade(MODEL, "l2", classes)
    assert texts[3:] == (towards, "cw:rounds=5,steps=100") and len(texts) == 5
    assert attacks_of(texts, ThreatSpec.parse("l2", "1"))[3].attack.runs(classes) == int(towards[-1])


def test_training_takes_a_published_data_set_as_papers_write_it():
    from advbench.api.training_data import threat_of

    assert str(threat_of("CIFAR-10", None, None)) == str(threat_of("cifar10", None, None))
