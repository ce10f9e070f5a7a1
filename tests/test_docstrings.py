"""Docstrings: summaries in plain words, complete sections, examples that run."""

import ast
import builtins
import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from advbench.attacks import ATTACKS
from advbench.attacks.base import Attack
from advbench.defenses import DEFENSES

from .words import RETIRED

ROOT = Path(__file__).parents[1]
ROOMS = ("attacks", "defenses", "advbench")
TERSE = ("advbench/cli/", "advbench/evaluation/", "advbench/preflight/", "advbench/reports/", "advbench/pytest_")
"""Rooms whose functions need no sections: commands, whose options have help texts, and functions that only we call."""
INTERROGATIVES = re.compile(r"(What|Whether|How|Where|Who|Which|When|As|Why|Whose|That|If)\b")

FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
TREES = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
SECTIONED = {file: tree for file, tree in TREES.items() if not file.startswith(TERSE)}
NODES = {file: list(ast.walk(tree)) for file, tree in TREES.items()}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
NAMED = FUNCTION | ast.ClassDef


def docstrings():
    """Yield place and text of every docstring, private ones and those under constants included."""
    for file, nodes in NODES.items():
        for node in nodes:
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{file}:{node.lineno}", node.value.value.strip()


def section(doc, title):
    """Return the lines of a section, or None if the docstring lacks it."""
    found = re.search(rf"(?:^|\n){title}\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)", doc, re.DOTALL)
    return found[1].split("\n") if found else None


def documented_names(doc):
    """Return the names that the Parameters (or Attributes) of a docstring explain."""
    heads = [line for title in ("Parameters", "Attributes") for line in section(doc, title) or () if line[:1].strip()]
    return {name.strip() for head in heads for name in head.partition(" : ")[0].split(",")}


def arguments(function):
    """Return the names of all arguments but `self`, stars included."""
    takes = function.args
    names = [each.arg for each in (*takes.posonlyargs, *takes.args, *takes.kwonlyargs)]
    bound = names[:1] if names[:1] in (["self"], ["cls"]) else []
    stars = [f"{star}{each.arg}" for star, each in (("*", takes.vararg), ("**", takes.kwarg)) if each]
    return [name for name in names if name not in bound] + stars


def gaps(function, doc):
    """Yield what the docstring of a function lacks."""
    named = documented_names(doc)
    yield from (f"parameter {name}" for name in arguments(function) if name not in named)
    returns = ast.unparse(function.returns) if function.returns else "None"
    if returns not in ("None", "NoReturn") and section(doc, "Returns") is None:
        yield f"returns {returns}"


def is_property(function):
    return any("property" in ast.unparse(each) for each in function.decorator_list)


def public(body, kind):
    return [node for node in body if isinstance(node, kind) and not node.name.startswith("_")]


def exported(tree):
    """Return the names in a package's `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return {element.value for element in node.value.elts}
    return set()


EXPORTED = {name for file, tree in TREES.items() if file.endswith("__init__.py") for name in exported(tree)}


def test_no_docstring_begins_with_an_interrogative():
    found = [f"{place} {doc.splitlines()[0]}" for place, doc in docstrings() if INTERROGATIVES.match(doc)]
    assert found == []


def test_summaries_end_with_a_period():
    found = [f"{place} {first}" for place, doc in docstrings() if not (first := doc.split("\n")[0]).endswith(".")]
    assert found == []


def test_public_functions_document_arguments_and_results():
    found = []
    for file, tree in SECTIONED.items():
        for function in public(tree.body, FUNCTION):
            lacking = list(gaps(function, ast.get_docstring(function) or ""))
            found += [f"{file}:{function.lineno} {function.name}: {', '.join(lacking)}"] if lacking else []
    assert found == []


def test_methods_of_exported_classes_document_arguments_and_results():
    """A method that several classes implement is documented in one of them, mostly the base."""
    methods = {}
    for file, tree in TREES.items():
        for owner in public(tree.body, ast.ClassDef):
            for method in public(owner.body, FUNCTION):
                if not is_property(method):
                    methods.setdefault(method.name, []).append((file, owner.name, method))
    found = []
    for name, there in methods.items():
        lacking = [(file, owner, list(gaps(method, ast.get_docstring(method) or ""))) for file, owner, method in there]
        if not any(each == [] for _, _, each in lacking):
            found += [f"{file} {owner}.{name}: {', '.join(each)}" for file, owner, each in lacking if owner in EXPORTED]
    assert found == []


def test_public_dataclasses_document_their_fields():
    found = []
    for file, tree in SECTIONED.items():
        for node in public(tree.body, ast.ClassDef):
            if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
                own = [each for each in node.body if isinstance(each, ast.AnnAssign)]
                names = [each.target.id for each in own if "ClassVar" not in ast.unparse(each.annotation)]
                named = documented_names(ast.get_docstring(node) or "")
                found += [f"{file} {node.name}.{name}" for name in names if name[0] != "_" and name not in named]
    assert found == []


SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises")
LIBRARIES = {"np", "jax", "jnp", "optax", "onnx", "torch", "keras", "zipfile"}
"""Modules whose names are not looked up: some of them are not installed."""


def capitals():
    """Return the names of classes and types that some file defines or imports."""
    found = {"JSON"}  # no type of Python's: what `json` reads
    for nodes in NODES.values():
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


CAPITALS = capitals()


def unknown_types(doc):
    """Return the types in the sections of a docstring that no file defines or imports."""
    lines = [(title, line) for title in SECTIONS for line in section(doc, title) or () if line[:1].strip()]
    types = [
        line.partition(" : ")[2] or (line if title not in ("Parameters", "Attributes") else "") for title, line in lines
    ]
    named = re.findall(r"\b(?:[a-z]\w*\.)*[A-Z]\w*", re.sub(r"""(["']).*?\1""", "", "\n".join(types)))
    known = CAPITALS | set(dir(builtins))
    return [name for name in named if name.split(".")[0] not in known | LIBRARIES]


def test_types_in_docstrings_exist():
    documented = [(file, node) for file, nodes in NODES.items() for node in nodes if isinstance(node, NAMED)]
    found = [(file, node.name, unknown_types(ast.get_docstring(node) or "")) for file, node in documented]
    assert [each for each in found if each[2]] == []


def test_types_that_are_gone_are_found():
    doc = """Do it.

    Parameters
    ----------
    a, b : list[Sesion] or None
        A Thing.
    c : {"All", 'None'}, optional
        A Thing.
    d : np.ndarray
        A Thing.

    Returns
    -------
    Reslt
        A Thing.

    Raises
    ------
    UsageErrr
        When it is wrong.
    """
    assert unknown_types(inspect.cleandoc(doc)) == ["Sesion", "Reslt", "UsageErrr"]


def words(name):
    """Split a name in snake case or camel case into words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name)


def public_names():
    """Yield the names of public functions, classes and methods, and of the parameters of these."""
    for tree in TREES.values():
        classes = public(tree.body, ast.ClassDef)
        functions = [each for body in (tree.body, *(c.body for c in classes)) for each in public(body, FUNCTION)]
        yield from (each.name for each in (*classes, *functions))
        yield from (name.strip("*") for each in functions for name in arguments(each))


def test_public_names_have_no_retired_words():
    """`DeepFool` is the published name of an attack, a stand-in what BPDA differentiates."""
    found = {name for name in public_names() if RETIRED.search(words(name))} - {"DeepFool", "stand_in"}
    assert found == set()


def messages():
    """Yield place and text of every string that is a sentence: neither a name nor a docstring."""
    for file, nodes in NODES.items():
        apart = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart
            if is_text and " " in node.value:
                yield f"{file}:{node.lineno}", node.value


def test_messages_have_no_retired_words():
    """Water has a slope in the description of a corruption."""
    found = [f"{place} {text}" for place, text in messages() if RETIRED.search(text) and "shaded by" not in text]
    assert found == []


def example(thing, globs):
    """Return the doctest of one object alone; None if it has no example."""
    found = doctest.DocTestFinder(recurse=False, exclude_empty=True).find(thing, thing.__name__, globs=globs)
    return found[0] if found else None


def passed(test):
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
    return outcome.attempted > 0 and not outcome.failed


@pytest.fixture(scope="module")
def setup():
    """Names that the example of `Attack` defines: those of the other attacks go on from there."""
    test = example(Attack, {"Attack": Attack})
    assert passed(test)
    return test.globs


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_the_example_of_every_attack_is_right(attack, setup):
    assert passed(example(attack, {**setup, attack.__name__: attack}))


def has_example(nodes):
    return any(">>>" in (ast.get_docstring(each) or "") for each in nodes if isinstance(each, NAMED))


MODULES = [file for file, nodes in NODES.items() if has_example(nodes)]


@pytest.mark.parametrize("file", [file for file in MODULES if not file.startswith("attacks/") or "/spec" in file])
def test_the_examples_of_a_module_are_right(file):
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    name = name if name.startswith("advbench") else f"advbench.{name}"
    tests = [test for test in doctest.DocTestFinder().find(import_module(name)) if test.examples]
    assert tests and all(map(passed, tests))


def test_every_defense_has_an_example():
    found = [name for name, kind in DEFENSES.items() if not name.startswith("awp-") and ">>>" not in kind.__doc__]
    assert found == []
