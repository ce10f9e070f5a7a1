"""Tables in documents have the names, settings and facts that the code has, none left out and none too many."""

import ast
import re
from dataclasses import fields

import pytest
import yaml

from advbench.attacks import ATTACKS, SUITES
from advbench.attacks.suites import expand
from advbench.cli.certify import How
from advbench.core.spec import build
from advbench.data import DATASETS
from advbench.defenses import DEFENSES
from advbench.gating.rules import GateRules, ThreatRules
from advbench.nn import MODELS
from advbench.preflight import CHECKS, EXPECTED, TRANSLATED
from advbench.preflight.masking import ASKED
from advbench.pytest_gate import THREAT
from advbench.remote.settings import TargetSettings
from advbench.reports.formats import FORMATS
from advbench.wrappers import WRAPPERS

from . import commands
from .documents import ROOT, documents

TEXTS = {document.name: document.text for document in documents()}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
SOURCES = [path.read_text() for path in (ROOT / "advbench").rglob("*.py")]
ANYWHERE = "\n".join(TEXTS.values())


def rows(name, head):
    """Cells of the table whose first line begins so."""
    (table,) = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[-:| ]*\n((?:\|.*\n)+)", TEXTS[name], re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]


def code(cell):
    """What a cell has in code, up to the first semicolon."""
    return re.findall(r"`([^`]*)`", cell.partition(";")[0])


def names(name, head):
    """The code in the first cell of each row, in order."""
    return [each for row in rows(name, head) for each in code(row[0])]


def kebab(model, *without):
    return {name.replace("_", "-") for name in model.model_fields} - set(without)


@pytest.mark.parametrize(
    ("name", "head", "known"),
    [
        ("docs/attacks.md", "attack", ATTACKS),
        ("docs/certified.md", "`--method`", [how.value for how in How]),
        ("docs/ci.md", "`--report`", FORMATS),
        ("docs/ci.md", "input", ACTION["inputs"]),
        ("docs/ci.md", "setting", {*THREAT, *GateRules.model_fields} - {"threats"}),
        ("docs/datasets.md", "name | images", DATASETS),
        ("docs/datasets.md", "name | sources, in turn", DATASETS),
        ("docs/doctor.md", "flag", CHECKS | TRANSLATED | EXPECTED),
        ("docs/gate.md", "key of `[gate]`", kebab(GateRules, "threats")),
        ("docs/gate.md", "key of `[[gate.threats]]`", kebab(ThreatRules)),
        ("docs/masking.md", "flag", ASKED),
        ("docs/targets.md", "setting", TargetSettings.model_fields),
        ("docs/wrappers.md", "name", WRAPPERS),
    ],
)
def test_a_table_has_every_name_and_no_other(name, head, known):
    assert sorted(names(name, head)) == sorted(known)


def test_the_table_of_commands_has_every_command_with_an_example_of_it():
    told = {row[0].strip("`"): row[2] for row in rows("docs/cli.md", "command")}
    assert set(told) == set(commands.LEAVES)
    assert [name for name, example in told.items() if not example.startswith(f"`advbench {name}")] == []


def test_the_table_of_attacks_says_what_they_say_of_themselves():
    for name, _, norms, needs, cost, paper in rows("docs/attacks.md", "attack"):
        attack = ATTACKS[name.strip("`")]
        assert (norms, needs, cost, paper) == (", ".join(attack.norms), attack.access, attack.cost, attack.paper), name


def test_the_table_of_suites_says_what_they_stand_for():
    told = {name: tuple(code(row[1])) for row in rows("docs/attacks.md", "suite") for name in code(row[0])}
    assert told == {name: expand(name, "linf") for name in SUITES}


def test_the_table_of_defenses_has_their_settings_and_papers():
    told = {row[0].strip("`"): row for row in rows("docs/defenses.md", "name")}
    assert set(told) == {name for name in DEFENSES if not name.startswith("awp-")} | {"awp-NAME"}
    for name, _, settings, _, paper in told.values():
        defense = DEFENSES[name.strip("`").replace("NAME", "pgd")]
        assert defense.paper.startswith(paper.partition(", arXiv")[0].partition(", ICLR")[0]), name
        _defaults(defense, settings)
        assert set(re.findall(r"arXiv \S+", paper)) <= set(re.findall(r"arXiv [^\s,;]+", defense.paper)), name


def test_the_table_of_wrappers_has_every_setting_with_its_default():
    for name, _, settings, *_ in rows("docs/wrappers.md", "name"):
        wrapper = WRAPPERS[name.strip("`")]
        told = _defaults(wrapper, settings.replace("`generator=FILE`", "`generator=`"))
        assert told == {field.name for field in fields(wrapper)}, name


def _defaults(kind, cell):
    """Assert that `key=value` are the defaults; return the keys."""
    pairs = [pair for span in code(cell) if "=" in span for pair in span.split(",")]
    made = build("kind", f"x:{','.join(pairs)}", {"x": kind})
    assert made == kind(), cell
    return {pair.partition("=")[0] for pair in pairs}


def test_the_table_of_data_sets_has_their_shapes_threats_and_licences():
    for name, images, _, eps, licence in rows("docs/datasets.md", "name | images"):
        info = DATASETS[name.strip("`")]
        assert images.startswith(
            f"{info.splits['train']:,} + {info.splits['test']:,}, {'x'.join(map(str, info.shape))}"
        )
        assert eps.lower() == f"{info.default_norm} {info.default_eps}"
        assert licence == info.licence.partition(";")[0]


def test_the_settings_of_a_target_have_their_defaults():
    told = {name: row[2] for row in rows("docs/targets.md", "setting") for name in code(row[0])}
    numbers = {
        name: field.default
        for name, field in TargetSettings.model_fields.items()
        if isinstance(field.default, float | int)
    }
    for name, default in numbers.items():
        assert f"{default:g}" in told[name].split(", "), name


def test_the_defaults_of_a_gate_are_told():
    told = {name: row[1] for row in rows("docs/gate.md", "key of `[gate]`") for name in code(row[0])}
    for name in ("seed", "batch_size", "error_rate"):
        assert f"({GateRules.model_fields[name].default})" in told[name.replace("_", "-")], name


def test_every_network_is_told_of():
    assert set(names("docs/networks.md", "name | what it is")) <= set(MODELS)
    assert [name for name in MODELS if f"`{name}`" not in TEXTS["docs/networks.md"]] == []


def test_every_output_of_the_action_is_told_of():
    assert [name for name in ACTION["outputs"] if f"`{name}`" not in TEXTS["docs/ci.md"]] == []


def test_every_flag_that_a_result_can_have_is_told_of():
    given = []
    for source in filter(re.compile(r"\bFlag\(").search, SOURCES):
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        named = [call.keywords for call in calls if ast.unparse(call.func) == "Flag"]
        given += [word.value for words in named for word in words if word.arg == "name"]
    flags = {each.value for value in given for each in ast.walk(value) if isinstance(each, ast.Constant)}
    flags -= {"queries"}  # compared with, not a name
    assert len(flags) > 25
    assert [flag for flag in sorted(flags) if f"`{flag}`" not in ANYWHERE] == []


def test_every_variable_of_the_environment_that_is_ours_is_told_of():
    ours = set(re.findall(r"\bADVBENCH_[A-Z_]+\b", "\n".join(SOURCES)))
    told = {name.partition("=")[0] for name in names("docs/cli.md", "variable")}
    assert ours and ours <= told
