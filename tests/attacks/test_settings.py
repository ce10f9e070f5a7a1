"""Settings are explained where people look for them, and choices are checked in one place."""

import inspect
import re
from dataclasses import fields

import pytest

from advbench.attacks import APGD, ATTACKS, FGSM, PGD
from advbench.attacks.settings import choices
from advbench.core.spec import ThreatSpec
from advbench.defenses import DEFENSES

KINDS = [*ATTACKS.values(), *DEFENSES.values()]
NAMES = [*ATTACKS, *(f"{name} (defense)" for name in DEFENSES)]
RANGE = r"at least|at most|above|below|between|from|even|odd|or more"


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_every_setting_has_a_meaning_a_range_and_a_default(kind):
    doc = inspect.getdoc(kind)
    for each in fields(kind):
        assert f"\n{each.name} : " in doc and f", default {each.default!r}\n    " in doc
        meaning = doc.partition(f"\n{each.name} : ")[2].splitlines()[1].strip()
        assert meaning and meaning.endswith("."), each.name
        if isinstance(each.default, int | float) and not isinstance(each.default, bool):
            assert re.search(RANGE, meaning), f"{each.name}: {meaning}"


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_help_names_the_paper(kind):
    assert f"\n\nReferences\n----------\n{kind.paper}" in inspect.getdoc(kind)


def test_help_shows_kind_choices_meaning_and_default():
    doc = inspect.getdoc(PGD)
    assert "steps : int, default 40\n    Ascent steps, at least 1." in doc
    assert "start : {'uniform', 'clean', 'jitter'}, default 'uniform'\n" in doc
    assert "restarts : int, default 1\n    Independent repetitions" in doc
    assert "steps : int, default 1\n    Ascent steps" in inspect.getdoc(FGSM)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_word_that_is_no_choice_is_refused_by_name(name):
    kind = ATTACKS[name]
    norm = kind.norms[0]
    threat = ThreatSpec.parse(norm, "1" if norm in ("l0", "any") else "0.1").threat
    for setting, words in choices(kind).items():
        assert kind().loss in words if setting == "loss" else getattr(kind(), setting) in words
        with pytest.raises(ValueError, match=f"has no {setting} 'nonsense'; it has: {words[0]}"):
            kind(**{setting: "nonsense"}).check(threat)


def test_choices_are_those_of_the_annotations():
    assert choices(APGD) == {"loss": ("ce", "margin", "dlr")}
    assert choices(PGD).keys() == {"loss", "start"}
