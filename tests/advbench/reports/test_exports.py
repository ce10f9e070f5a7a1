"""OpenMetrics, LaTeX, RobustBench, JSON Schema: read back by the rules of each."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics import parser

from advbench.attacks.suites import SUITES
from advbench.core.flag import Flag
from advbench.gating.verdict import EXIT_CODES
from advbench.reports import latex, robustbench
from advbench.reports.formats import FORMATS
from advbench.reports.schema import SCHEMAS, schema
from tests.advbench.reports.gates import HOSTILE, gate, gates, outcome, result

quick = settings(deadline=None, max_examples=100)
DOCS = Path(__file__).parents[3] / "docs"


def families(text):
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


@quick
@given(gates())
def test_openmetrics_parse_and_tell_the_verdict(found):
    metrics = families(FORMATS["openmetrics"](found))
    (exit_code,) = metrics["advbench_gate_exit_code"].samples
    assert (exit_code.labels["model"], exit_code.value) == (found.model, found.exit_code)
    states = {s.labels["advbench_gate_verdict"]: s.value for s in metrics["advbench_gate_verdict"].samples}
    assert states == {verdict: float(verdict == found.verdict) for verdict in EXIT_CODES}
    rules = metrics["advbench_rule_verdict"].samples if found.outcomes else []
    on = {s.labels["rule"]: s.labels["advbench_rule_verdict"] for s in rules if s.value}
    assert on == {each.rule: each.verdict for each in found.outcomes}


def test_openmetrics_carry_the_numbers():
    found = gate(outcome("fail"), outcome("fail", "max_drop"), results=[result(robust=12)])
    metrics = families(FORMATS["openmetrics"](found))

    def value(name, **labels):
        (sample,) = [s for s in metrics[name].samples if labels.items() <= s.labels.items()]
        return sample.value

    assert value("advbench_rule_measured_ratio", rule="min_robust linf 0.3") == 0.6
    drop = {"rule": "max_drop linf 0.3"}
    assert value("advbench_rule_measured_ratio", **drop) == pytest.approx(0.4)
    low, high = value("advbench_rule_low_ratio", **drop), value("advbench_rule_high_ratio", **drop)
    assert 0 < low < 0.4 < high < 1
    assert value("advbench_accuracy_ratio", threat="linf 0.3", images="adversarial") == 0.6
    assert value("advbench_gate_duration_seconds") == 3.25


# What LaTeX's tokenizer makes of our text: escapes resolved, anything else that is special is a leak.
TOKENS = re.compile(r"\\text(\w+)\{\}|\\([{}$&#%_])|\{([\[*-])\}|([\\{}$&#%_^~])|(.)", re.DOTALL)
NAMES = {
    "backslash": "\\",
    "asciitilde": "~",
    "asciicircum": "^",
    "less": "<",
    "greater": ">",
    "bar": "|",
    "quotedbl": '"',
    "asciigrave": "`",
    "quotesingle": "'",
}


def typeset(text):
    shown = []
    for name, escaped, grouped, leaked, plain in TOKENS.findall(text):
        assert not leaked, text
        shown.append(NAMES[name] if name else escaped or grouped or plain)
    return "".join(shown)


@pytest.mark.parametrize("text", [*HOSTILE, "a--b", "?`x", "[1]*", "50% of $5 & more_#1"])
def test_latex_sets_names_as_they_are(text):
    from advbench.reports.table import printable

    assert typeset(latex.escaped(text)) == " ".join(printable(text).split())


@quick
@given(gates())
def test_latex_tables_are_balanced(found):
    text = FORMATS["latex"](found)
    columns = len(re.search(r"\\begin\{tabular\}\{(l?r*)\}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {columns}
    assert len(rows) == len(found.outcomes) + 2
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_latex_of_results():
    one = latex.of_results([result(robust=12)])
    assert r"60.0\%" in one
    assert "38.7--78.1" in one
    assert one.count(r"\midrule") == 2  # under the header, and above robust accuracy
    two = latex.of_results([result(), result(norm="l2", model="x_y")])
    assert r"x\_y & l2 eps 0.3" in two
    assert two.count(r" \\") == 3


def info(**changes):
    return json.loads(robustbench.of_result(result(**changes)))


def test_robustbench_has_its_keys_and_texts():
    found = info(robust=12)
    assert list(found)[:12] == [
        "link",
        "name",
        "authors",
        "additional_data",
        "number_forward_passes",
        "dataset",
        "venue",
        "architecture",
        "eps",
        "clean_acc",
        "reported",
        "autoattack_acc",
    ]
    assert (found["clean_acc"], found["reported"], found["eps"]) == ("100.00", "60.00", "0.3")
    assert found["link"] is found["authors"] is None
    assert found["unreliable"] is False


def test_only_the_whole_of_autoattack_bears_its_name():
    recipe = SUITES["autoattack"]["linf"]
    assert info(specs=recipe)["autoattack_acc"] == "60.00"
    assert info(specs=("fgsm", *recipe))["autoattack_acc"] == "60.00"
    assert info(specs=recipe[:-1])["autoattack_acc"] is None
    assert info(specs=recipe, norm="l1")["autoattack_acc"] is None
    assert info(specs=recipe, complete=False)["autoattack_acc"] is None


def test_robustbench_tells_of_draws_and_of_numbers_that_do_not_stand():
    draws = Flag(name="randomised", level="note", evidence={"draws": 20}, message="")
    broken = Flag(name="nonfinite_outputs", level="invalid", evidence={}, message="")
    found = info(flags=[draws, broken])
    assert (found["number_forward_passes"], found["unreliable"]) == (20, True)
    assert info()["number_forward_passes"] == 1


def test_robustbench_of_a_gate_has_an_object_per_threat():
    found = json.loads(FORMATS["robustbench"](gate(outcome(), results=[result(), result(eps="8/255")])))
    assert [each["eps"] for each in found] == ["0.3", "8/255"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schemas_are_in_step(name):
    published = json.loads((DOCS / name).read_text())
    assert published == json.loads(schema(name)), "run: make reference"


def test_what_is_written_is_valid_by_the_published_schemas():
    flag = Flag(name="randomised", level="note", evidence={"draws": 20}, message="")
    found = gate(
        *(outcome("fail", kind) for kind in ("min_robust", "max_drop", "flags")), results=[result(flags=[flag])]
    )
    for name, text in (("gate.schema.json", found.to_json()), ("result.schema.json", found.results[0].to_json())):
        jsonschema.Draft202012Validator(json.loads((DOCS / name).read_text())).validate(json.loads(text))
