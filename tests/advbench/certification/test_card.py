"""A card repeats its evaluation, and the released models' cards what attacking them finds."""

import json

import numpy as np
import pytest

from advbench.attacks.spec import attacks_of
from advbench.certification.card import CARD, Card
from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec
from advbench.data import load
from advbench.evaluation import evaluate
from advbench.evaluation.result import Result
from advbench.models.load import RELEASED, load_model, released
from advbench.models.store import MANIFEST, read_manifest

CARDS = [name for name in released() if (RELEASED / name / CARD).exists()]
SUBSET = {"mnist": 16, "cifar10": 8}  # images that meet the cheap part of the suite again


def attacked(name: str, indices: list[int], attacks: tuple[str, ...], card: Card) -> Result:
    threat = ThreatSpec.parse(card.threat.norm, card.threat.eps)
    model = load_model(name)
    everything = (model, load(card.data, "test"), indices, attacks_of(attacks, threat), threat)
    return evaluate(*everything, seed=card.seed, batch_size=16, doublings=0)


@pytest.mark.parametrize("name", CARDS)
def test_attacking_a_released_model_finds_what_its_card_says(name):
    """APGD, a part of the suite, breaks none of the images that stood and some of those that fell."""
    card = Card.load(RELEASED / name)
    wanted = SUBSET.get(card.data, 8)
    stood, fell = np.flatnonzero(card.mask)[: wanted // 2], np.flatnonzero(~card.mask)[: wanted // 2]
    result = attacked(name, sorted([*map(int, stood), *map(int, fell)]), ("apgd",), card)
    robust = {row.index: row.robust for row in result.rows}
    assert all(robust[index] for index in stood)
    assert result.model.digest == card.digest
    assert any(not robust[index] for index in fell)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_about_the_weights_beside_it(name):
    card = Card.load(RELEASED / name)
    manifest = read_manifest(RELEASED / name / MANIFEST)
    assert card.model == name
    assert card.digest == manifest.digest
    assert str(card.threat) == "{norm} {eps}".format(**manifest.record["threat"])
    assert card.mask.sum() == card.robust.correct
    assert not any(flag.level == "invalid" for flag in card.flags)
    if card.certified:
        assert card.certified.rate.correct <= card.robust.correct


def test_a_card_keeps_every_verdict(tmp_path):
    name = released()[0]
    manifest = json.loads((RELEASED / name / MANIFEST).read_text())
    threat = ThreatSpec.parse(**manifest["record"]["threat"])
    model, data = load_model(name), load(manifest["dataset"], "test")

    def result(indices):
        return evaluate(model, data, indices, attacks_of(["fgsm"], threat), threat, seed=0, batch_size=16, doublings=0)

    found = result(range(11))
    Card.of(found, ("fgsm",)).save(tmp_path)
    card = Card.load(tmp_path)
    assert card.mask.tolist() == [row.robust for row in found.rows]
    assert (card.clean, card.robust, card.suite) == (found.clean, found.robust, ("fgsm",))
    with pytest.raises(UsageError, match="images from 0 on"):
        Card.of(result(range(1, 4)), ("fgsm",))
    begun = Card.of(result(range(5)), ("fgsm",))
    whole = Card.of(result(range(5, 11)), ("fgsm",), before=begun)
    assert whole.model_dump(exclude={"parts"}) == card.model_dump(exclude={"parts"})
    assert [part.n for part in whole.parts] == [5, 6]
    assert whole.seconds == begun.seconds + whole.parts[1].seconds
    here = found.provenance.model_copy(update={"command": "advbench attack x -n 5 --out '/a b/c' --resume --seed 1"})
    (part,) = Card.of(found.model_copy(update={"provenance": here}), ("fgsm",)).parts
    assert part.provenance.command == "advbench attack x -n 5 --seed 1"
    with pytest.raises(UsageError, match="images from 11 on"):
        Card.of(result(range(5, 11)), ("fgsm",), before=card)
    with pytest.raises(UsageError, match="something else"):
        Card.of(result(range(5, 11)), ("pgd",), before=begun)
    assert Card.load(tmp_path / "nowhere") is None
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(UsageError, match="is no card"):
        Card.load(tmp_path)
