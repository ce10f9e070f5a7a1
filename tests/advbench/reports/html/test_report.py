"""The page: whole, valid, readable without eyes, and deaf to what names say."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advbench.api.stored import pairs
from advbench.core.flag import Flag
from advbench.evaluation.result import Convergence, Rate
from advbench.gating.verdict import (
    Gate,
    Measured,
    Outcome,
    Place,
)
from advbench.reports.html import gallery
from advbench.reports.html.classes import by_class, matrix
from advbench.reports.html.curves import curves
from advbench.reports.html.report import of_found
from advbench.reports.html.svg import Chart, PlotAxis, ticks
from advbench.reports.pictures import amplified, png
from advbench.reports.sources import Sources, StoredRun

from ..runs import Data, store
from .document import Document

HOSTILE = "<script>alert(1)</script>|`'\"><img src=x onerror=alert(1)>]]>--></style></svg>{{ 7*7 }}\u202e\x00&amp;"
FLAG = Flag(name="saturated", level="note", evidence={"share": 0.25, "where": [1, 2]}, message="logits are large")


def page(*runs, gates=()):
    return of_found(Sources(tuple(runs), tuple(gates)), pairs)


def hostile(word=HOSTILE):
    """Changes that put a word wherever a file can."""
    return {
        "model__name": word,
        "model__source": word,
        "model__record": {word: word},
        "data__classes": [f"{k}{word}" for k in range(10)],
        "data__source": word,
        "provenance__command": word,
        "provenance__device": word,
        "provenance__versions": {word: word},
        "provenance__commit": word,
        "threat": {"norm": word, "eps": word, "eps_value": 0.3, "eps_exact": word},
        "flags": [{"name": word, "level": "note", "evidence": {word: word}, "message": word}],
        "skipped": [{"spec": word, "runs": 1, "images": 1}],
        "complete": False,
    }


def made_gate(word, run):
    measured = Measured(value=0.6, low=0.5, high=0.7, n=100, correct=60, population=100, level=0.95, method=word)
    outcome = Outcome(
        rule=word, kind="min_robust", verdict="fail", threat=word, threshold=0.8, measured=measured,
        message=word, place=Place(file=word, line=3),
    )  # fmt: skip
    return Gate(
        model=word, verdict="fail", outcomes=[outcome], error=0.05, images=100, population=100, seed=0,
        baseline=word, results=[run.result], seconds=1.0,
    )  # fmt: skip


def test_the_page_is_whole_and_well_formed(stored):
    found = Document(page(stored("a", flags=[("saturated", "note")])))
    assert found.faults == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    for part in ("95% interval", "50.2-69.1", "saturated was seen", "Predictions under attack", "Provenance"):
        assert part in found.text()


def test_every_reference_within_the_page_leads_somewhere(stored):
    found = Document(page(stored("a"), stored("b", eps="0.2", robust=70)))
    wanted = [a["href"][1:] for tag, a in found.elements if tag == "a"]
    wanted += [name for _, a in found.elements for name in a.get("aria-labelledby", "").split()]
    assert len(wanted) > 10
    assert set(wanted) <= set(found.ids)


def test_what_a_name_says_changes_no_element_and_no_attribute(stored):
    def of(word):
        run = stored(f"run-{len(word)}", changes=hostile(word))
        return Document(page(run, gates=[(Path(word.replace("/", "-").replace("\0", "")), made_gate(word, run))]))

    plain, evil = of("harmless"), of(HOSTILE)
    assert evil.faults == []
    assert evil.shape == plain.shape
    values = [v for _, a in evil.elements for k, v in a.items() if k in ("href", "src", "class", "id", "style") and v]
    assert not [value for value in values if "alert" in value]
    assert not any(name.startswith("on") for _, a in evil.elements for name in a)
    text = evil.text()
    assert "<script>alert(1)</script>" in text  # shown as it is
    assert "{{ 7*7 }}" in text
    assert "\u202e" not in text  # would turn around what stands beside
    assert "\x00" not in text


def test_nothing_is_loaded_and_only_the_pages_own_script_and_style_may_act(stored):
    html = page(stored("a"))
    found = Document(html)
    policy = next(a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    links = [a.get(k, "") for _, a in found.elements for k in ("src", "href") if k in a]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "style" not in {name for _, a in found.elements for name in a}  # the policy would refuse it


def test_it_can_be_read_without_seeing(stored):
    found = Document(page(stored("a", flags=[("saturated", "note")])))
    tags = [tag for tag, _ in found.elements]
    assert tags.count("caption") == tags.count("table")
    assert all(a.get("scope") in ("col", "row") for tag, a in found.elements if tag == "th")
    assert all(a.get("alt") for tag, a in found.elements if tag == "img")
    drawn = [a for tag, a in found.elements if tag == "svg" and "aria-hidden" not in a]
    assert drawn
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawn)
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert next(a["lang"] for tag, a in found.elements if tag == "html") == "en"


def test_the_same_runs_give_the_same_page(stored):
    run = stored("a")
    assert page(run) == page(run)


def test_a_large_run_stays_small(make, monkeypatch, tmp_path):
    data = Data((32, 32, 3), 1000)
    monkeypatch.setattr("advbench.data.again", lambda *_: data)
    html = page(store(tmp_path / "large", make(n=1000, clean=900, robust=200), data))
    assert len(html) < 2_000_000
    assert html.count("<img") == 3 * gallery.SHOWN


def test_an_invalid_run_says_so_first(stored):
    text = Document(page(stored("a", flags=[("probabilities", "invalid")]))).text()
    assert text.index("Invalid (probabilities): these numbers can't be trusted") < text.index("60.0%")


def test_a_gate_shows_its_rules(stored):
    run = stored("a")
    text = Document(page(run, gates=[(Path("g.json"), made_gate("min_robust linf 0.3", run))])).text()
    for part in ("min_robust linf 0.3", "fail, after 100 of 100 images", "80.00%", "50.0-70.0", ":3"):
        assert part in text


def test_pictures_are_those_of_the_run(stored, data):
    run = stored("a", robust=60)
    found = gallery.of_run(run, gallery.SizeLimit(), pairs)
    assert len(found.cards) == gallery.SHOWN
    labels = [card.title.split()[0] for card in found.cards]
    assert sorted(labels[:10]) == [str(k) for k in range(10)]  # one of each class first
    index = int(re.search(r"image (\d+)", found.cards[0].title)[1])
    shown = np.asarray(Image.open(BytesIO(b64decode(found.cards[0].pictures[0].source.partition(",")[2]))))
    assert np.array_equal(shown, data.images[index, ..., 0])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run, data: (run.folder / "adversarial.safetensors").unlink(), "can't read"),
        (lambda run, data: (run.folder / "adversarial.safetensors").write_bytes(b"x"), "damaged"),
        (lambda run, data: setattr(data, "images", 255 - data.images), "are not those of the run"),
    ],
)
def test_without_pictures_the_page_says_why(stored, data, spoil, said):
    run = stored("a")
    spoil(run, data)
    text = Document(page(run)).text()
    assert "No pictures: " in text
    assert said in text


def test_pictures_stop_where_the_page_would_grow_too_large(stored):
    found = gallery.of_run(stored("a", robust=60), gallery.SizeLimit(600), pairs)
    assert 0 < len(found.cards) < gallery.SHOWN
    assert f"{len(found.cards)} of the 40 images" in found.note


def test_the_change_is_amplified_about_white_or_grey():
    clean = np.full((2, 2, 1), 0.5, np.float32)
    there = clean + np.array([[0.0, 0.1], [-0.1, 0.05]], np.float32)[..., None]
    picture, factor = amplified(clean, there)
    assert factor == pytest.approx(4, rel=1e-5)
    assert picture[0, 0].tolist() == [1, 1, 1]
    assert picture[0, 1].argmax() == 0  # orange: brighter
    assert picture[1, 0].argmax() == 2  # blue: darker
    colour, _ = amplified(np.repeat(clean, 3, 2), np.repeat(there, 3, 2))
    assert colour[0, 1, 0] == pytest.approx(0.9)
    assert Image.open(BytesIO(png(picture))).size == (2, 2)


def test_the_matrix_counts_predictions_under_attack(make):
    result = make(robust=60)
    found = matrix(result)
    assert found.columns == tuple("0123456789")
    for label, (name, cells) in enumerate(found.rows):
        counts = [int(text or 0) for text, _ in cells]
        assert name == str(label)
        assert counts == [6 if k == label else 4 if k == (label + 1) % 10 else 0 for k in range(10)]
    assert [shade for _, shade in found.rows[0][1]][:2] == [6, 4]
    header, rows = by_class(result)
    assert rows[3][header.index("robust accuracy")] == "60.0%"
    assert rows[3][-1] == "4 (4)"


def test_many_classes_have_no_matrix_and_predictions_of_no_class_are_named(make):
    result = make()
    row = result.rows[-1].model_copy(update={"prediction": None, "label": 42})
    odd = result.model_copy(update={"rows": (*result.rows[:-1], row)})
    assert matrix(odd).columns[-2:] == ("class 42", "not finite")
    wide = result.model_copy(update={"rows": tuple(r.model_copy(update={"label": r.index}) for r in result.rows)})
    assert matrix(wide) is None


def test_a_curve_joins_what_was_measured_and_bounds_the_rest(make):
    results = [make(eps="0.2", robust=80), make(eps="0.3", robust=60)]
    (drawing,) = curves(results, ["net", "net"])
    assert [row[1:] for row in drawing.rows] == [
        ("0", "90.0%", "82.6-94.5"),
        ("0.2", "80.0%", "71.1-86.7"),
        ("0.3", "60.0%", "50.2-69.1"),
    ]
    svg = str(drawing.chart)
    assert svg.count("<polygon") == 1  # the band
    (alone,) = curves(results[:1], ["net"])
    assert "<polygon" not in str(alone.chart)  # nothing is known between 0 and the only eps


def test_other_images_or_norms_never_share_a_chart_nor_other_attacks_a_line(make):
    other = make(name="net").model_copy(update={"attacks": make().attacks[:1]})
    assert [d.legend for d in curves([make(), other], ["net", "net"])] == [
        (("s0", "net: fgsm, pgd:steps=100,restarts=5"), ("s1", "net: fgsm"))
    ]
    elsewhere = make().model_copy(update={"data": make().data.model_copy(update={"digest": "1"})})
    assert len(curves([make(), elsewhere], ["net", "net"])) == 2


def test_convergence_shows_what_each_attack_left(stored):
    run = stored("a")
    told = Convergence(passes=(1, 2, 4), standing=(90, 80, 60), after_runs=(70, 60), doublings=0)
    attacks = (run.result.attacks[0].model_copy(update={"convergence": told}), *run.result.attacks[1:])
    text = Document(page(StoredRun(run.result.model_copy(update={"attacks": attacks}), run.path, run.folder))).text()
    for part in ("Convergence", "4 passes", "60 of 90", "trial 2"):
        assert part in text


def test_places_follow_the_axes():
    axis = PlotAxis("x", 0, 10, ticks(0, 10))
    chart = Chart("c", "title <&>", "text", axis, PlotAxis("y", 0, 100, ticks(0, 100)))
    chart.line([(0, 0), (10, 100)], "s0")
    found = Document(str(chart))
    (points,) = [a["points"] for tag, a in found.elements if tag == "polyline"]
    (x0, y0), (x1, y1) = ([float(v) for v in place.split(",")] for place in points.split())
    assert x0 < x1
    assert y0 > y1  # up is less
    assert ("title", "title <&>") in found.texts
    assert PlotAxis("x", 1, 16, (), log=True).share(4) == 0.5


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.3), (0, 7), (0, 1e-9), (3, 3), (0, 123456)])
def test_ticks_are_round_few_and_within(low, high):
    marks = [value for value, _ in ticks(low, high)]
    assert 1 <= len(marks) <= 7
    assert all(low - 1e-12 <= mark <= high * (1 + 1e-9) for mark in marks)


def test_a_rate_of_nothing_is_drawn(make):
    empty = make().model_copy(update={"rows": (), "robust": Rate.of(0, 0), "clean": Rate.of(0, 0), "flags": (FLAG,)})
    assert Document(page(StoredRun(empty, Path("x.json"), None))).faults == []
