"""Help that an engineer reads on a terminal of 80 columns; former names of options, keys and keywords."""

import inspect
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import advbench
from advbench.cli import app, panels
from advbench.cli.commands import Command
from advbench.cli.examples import EXAMPLES
from advbench.core.errors import UsageError
from advbench.core.renamed import KEYS, KEYWORDS, OPTIONS, accepts_former_names, current
from advbench.defenses.recipe import Recipe
from advbench.gating.rules import GateRules, json_schema
from advbench.gating.source import read
from tests.commands import LEAVES, problem_of, spelled

RETIRED = [
    *(
        "stands",
        "standing",
        "fell",
        "fallen",
        "misclassified",
        "succeeds",
        "craft",
        "crafted",
        "climb",
        "climbs",
        "input_gradient",
    ),
    *("iterate_compacting", "told", "reseeded", "withstand", "withstands", "budget"),
]
ALLOWED = "perturbation budget"  # the one budget that the field has


def shown(*words):
    return CliRunner().invoke(app, [*words, "--help"], prog_name="advbench", env={"COLUMNS": "80"})


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_says_what_it_means_which_form_it_has_and_where_it_belongs(name):
    for param in LEAVES[name].params:
        assert re.fullmatch(r"[A-Za-z`.].*[.]", param.help) and len(param.help) < 200, param.name
        assert param.rich_help_panel in panels.ORDER and param.rich_help_panel != panels.OTHER, param.name
        flag = param.param_type_name == "option" and param.is_flag
        assert (param.metavar is None) is bool(flag), param.name


@pytest.mark.parametrize("name", ["", "data", *LEAVES])
def test_help_fits_80_columns_and_has_no_retired_word(name):
    got = shown(*name.split())
    assert got.exit_code == 0
    lines = got.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", got.stdout).lower().split())
    assert [word for word in RETIRED if re.search(rf"\b{word}\b", text.replace(ALLOWED, ""))] == []
    if name in LEAVES:
        for param in LEAVES[name].params:  # whole, not cut
            assert all(f" {each} " in f" {text} ".replace(",", " ") for each in param.opts if each.startswith("--"))
        start = next(at for at, line in enumerate(lines) if "─ Examples " in line)
        assert [line.strip("│ ") for line in lines[start + 1 : start + 3]] == EXAMPLES[name].splitlines()


def test_panels_come_in_one_order():
    titles = re.findall(r"╭─ (.*?) ─", shown("attack").stdout)
    assert titles == [panel for panel in (*panels.ORDER, "Examples") if panel in titles]
    assert {panels.MODEL, panels.DATA, panels.THREAT, panels.ATTACKS, panels.LIMITS, panels.OUTPUT} <= set(titles)


def test_brackets_and_defaults_are_shown_as_they_are():
    text = " ".join(re.sub("[│\n]", " ", shown("gate").stdout).split())
    assert "in [tool.advbench.gate] of pyproject.toml" in text and "[default: 0.05]" in text
    assert "Usage: advbench gate [OPTIONS] [CONFIG|MODEL]" in text
    assert "[default: adaptive]" in shown("attack").stdout and "[required]" in shown("attack").stdout
    assert "[N,H,W,C]" in shown("data", "pseudo-label").stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_understood(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "advbench.toml").write_text('[gate]\nmodel = "mnist-pgd"\nmin-clean = "90%"\n')
    lines = EXAMPLES[name].splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"advbench {name}")
    for line in lines:
        assert line.startswith("advbench ") and len(line) <= 76
        assert problem_of([word.replace("photos/", "mnist") for word in line.split()[1:]]) is None, line


def test_every_command_has_examples_and_our_help():
    assert EXAMPLES.keys() == LEAVES.keys()
    assert all(isinstance(node, Command) for node in LEAVES.values())


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from advbench.cli import app\n"
        "try: app(['attack', '--help'], prog_name='advbench')\n"
        "finally: print(sorted({'jax', 'numpy', 'optax', 'flax', 'advbench.api'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and "Threat model" in done.stdout


# Former names


HAVING = [
    (name, old, new)
    for name, node in LEAVES.items()
    for old, new in OPTIONS.items()
    if any(new in spelled(param) for param in node.params) and not any(old in spelled(p) for p in node.params)
]
VALUES = {"--checks": "full", "--craft": "bfloat16", "--error": "0.1", "--eot": "3", "--query-budget": "7"}
FIRST = {"train": ["mnist"], "doctor": [], "gate": ["mnist-pgd"]}


@pytest.mark.parametrize(("name", "old", "new"), HAVING)
def test_former_names_of_options_do_the_same_with_a_note(name, old, new, capsys):
    value = [] if old == "--each" else [VALUES.get(old, "mlp")]
    first = FIRST.get(name, ["mnist-pgd"])

    def params(*words):
        return LEAVES[name].make_context(name, [*first, *words]).params

    plain, renamed = params(), params(new, *value)
    assert capsys.readouterr().err == ""
    assert params(old, *value) == renamed != plain
    assert capsys.readouterr().err == f"advbench: {old} is now {new}\n"
    if value:
        assert params(f"{old}={value[0]}") == renamed
    assert old not in {word for param in LEAVES[name].params for word in spelled(param)}


def test_every_former_name_is_of_some_command():
    assert {old for _, old, _ in HAVING} == OPTIONS.keys()


def test_only_options_are_taken_for_options(capsys):
    node = LEAVES["attack"]
    params = node.make_context("attack", ["--out", "--each", "--", "--wrap"]).params
    assert (str(params["out"]), params["model"], params["cascade"]) == ("--each", "--wrap", True)
    assert capsys.readouterr().err == ""
    got = CliRunner().invoke(app, ["attack", "mnist-pgd", "--model", "x"], prog_name="advbench")
    assert got.exit_code == 2 and got.stderr.startswith("advbench: no such option: --model")


def test_a_listing_is_found_by_its_former_name():
    former, present = (CliRunner().invoke(app, ["list", kind, "--json"]) for kind in ("wrappers", "input-defenses"))
    assert former.stdout == present.stdout and former.stderr == "advbench: wrappers is now input-defenses\n"
    assert present.stderr == "" and "wrappers" not in shown("list").stdout


def test_former_keys_of_a_file_do_the_same_with_a_note(tmp_path):
    values = {"time-limit": '"5m"', "preflight": '"none"', "error-rate": "0.1", "input-defense": '["jpeg"]'}
    former = {KEYS_BACK[key]: value for key, value in values.items()}
    rest = '[[gate.threats]]\nnorm = "l2"\neps = 0.5\nmin-robust = "40%"\n'
    notes, found = [], []
    for place, keys in (("new.toml", values), ("old.toml", former)):
        path = tmp_path / place
        path.write_text("[gate]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + rest)
        found.append(read(path, {"time-limit": "9m"}, notes.append)[0])
    assert found[0] == found[1] and found[0].time_limit == "9m" and found[0].preflight == "none"
    assert notes == [f"{tmp_path / 'old.toml'}: {old} is now {KEYS[old]}" for old in former]


KEYS_BACK = {new: old for old, new in KEYS.items()}


def test_editors_learn_of_former_keys():
    keys = json_schema()["$defs"]["GateRules"]["properties"]
    for old, new in KEYS.items():
        assert (old in keys) == (new in keys)
        if old in keys:
            assert keys[old]["deprecated"] and "deprecated" not in keys[new] and old not in set(GateRules.keys())


def test_former_keywords_do_the_same_with_a_warning():
    @accepts_former_names
    def function(*, cascade=True, time_limit=None):
        return cascade, time_limit

    with pytest.warns(DeprecationWarning, match="each is now cascade, its opposite") as caught:
        assert function(each=True) == (False, None)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="budget is now time_limit"):
        assert function(budget="5m", cascade=False) == (False, "5m")
    with pytest.raises(UsageError, match="budget is the former name of time_limit"):
        function(budget=1, time_limit=2)
    with pytest.warns(DeprecationWarning, match="craft is now perturb_dtype") as caught:
        assert Recipe(craft="bfloat16") == Recipe(perturb_dtype="bfloat16")
    assert caught[0].filename == __file__
    assert Recipe(perturb_dtype="bfloat16").stored["craft"] == "bfloat16"
    assert current({"n": 1, "seed": 2}, print) == {"n": 1, "seed": 2}


@pytest.mark.parametrize(
    "function", [advbench.evaluate, advbench.curve, advbench.certify, advbench.gate, advbench.train]
)
def test_the_interface_takes_former_keywords_and_shows_present_ones(function):
    assert not KEYWORDS.keys() & inspect.signature(function).parameters.keys()
    with pytest.warns(DeprecationWarning, match="wrap is now input_defense"), pytest.raises((UsageError, TypeError)):
        function(None, wrap="jpeg", no_such_setting=1)
