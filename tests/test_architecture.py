"""The order of the packages, stated once: each may import those above it in the list, never those below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    "core",
    "attacks",
    "nn",
    "bounds",
    "defenses",
    "data",
    "onnx",
    "remote",
    "models",
    "wrappers",
    "preflight",
    "evaluation",
    "certification",
    "gating",
    "reports",
    "api",
    "pytest_gate",
    "pytest_plugin",
    "cli",
    "__main__",
)
"""From the ground up; imports within functions and for type checkers count too."""

LIBRARIES = {
    "attacks": {"jax", "optax", "numpy"},
    "defenses": {"jax", "optax", "numpy", "flax", "orbax", "tensorboardX"},
}
"""What the two rooms of algorithms may import beside this package and the standard library."""


def module_of(path: Path) -> str:
    """`advbench/core/spec.py` and `attacks/pgd.py` -> `advbench.core.spec`, `advbench.attacks.pgd`."""
    parts = path.with_suffix("").parts
    parts = parts if parts[0] == "advbench" else ("advbench", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str) -> set[str]:
    """Modules that the code imports anywhere; of `from package import name` also `package.name`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    """The package within advbench that a dotted name belongs to; None for advbench itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else None


def against(module: str, source: str) -> set[str]:
    """Imports of this module that go against the order."""
    here = room_of(module)
    ours = {name for name in imports(source) if name.split(".")[0] == "advbench"}
    if here is None:  # the package itself offers what api has, late
        return set()
    return {name for name in ours if (there := room_of(name)) is not None and ORDER.index(there) > ORDER.index(here)}


def sources() -> dict[str, str]:
    files = [path for room in ("attacks", "defenses") for path in (ROOT / room).rglob("*.py")]
    linked = [ROOT / "advbench" / room for room in ("attacks", "defenses")]
    files += [p for p in (ROOT / "advbench").rglob("*.py") if not any(p.is_relative_to(link) for link in linked)]
    return {module_of(path.relative_to(ROOT)): path.read_text() for path in files}


def test_every_package_has_its_place():
    rooms = {module.split(".")[1] for module in sources() if module.count(".")}
    assert rooms == set(ORDER)


def test_no_import_goes_against_the_order():
    assert {module: found for module, source in sources().items() if (found := against(module, source))} == {}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("advbench.attacks.pgd", "import advbench.evaluation"),
        ("advbench.attacks.pgd", "def late():\n    from advbench.data import load"),
        ("advbench.reports.table", "from advbench import cli"),
        ("advbench.core.model", "if TYPE_CHECKING:\n    from advbench.models.load import load_model"),
    ],
)
def test_the_check_sees_imports_against_the_order(module, line):
    assert against(module, line)


@pytest.mark.parametrize("room", LIBRARIES)
def test_algorithms_import_few_libraries(room):
    allowed = LIBRARIES[room] | set(sys.stdlib_module_names) | {"advbench"}
    found = {m: {n.split(".")[0] for n in imports(s)} - allowed for m, s in sources().items() if room_of(m) == room}
    assert {module: names for module, names in found.items() if names} == {}


OUTSIDE = (
    *("os", "sys", "glob", "shutil", "tempfile", "subprocess", "socket", "ssl", "http", "urllib.request"),
    *("advbench.core.files", "advbench.data", "advbench.remote", "advbench.evaluation.run", "advbench.evaluation.kept"),
)
CALLS = {"open", "print", "exec", "eval", "compile", "__import__"}
METHODS = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "mkdir", "unlink", "rename"),
    *("exists", "is_file", "is_dir", "stat", "iterdir", "glob", "rglob", "load", "get_template"),
}
TEMPLATES = {("advbench.reports.html.page", "read_text"), ("advbench.reports.html.page", "get_template")}
"""What the page is made of lies in the package."""


def touching(module: str, source: str) -> set[str]:
    """How code gets at files, the environment, streams or the network."""
    tree = ast.parse(source)
    ifs = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    typing = {inner for node in ifs for inner in ast.walk(node)}
    lines = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [line for line in lines if line not in {ast.unparse(node) for node in typing if isinstance(node, ast.stmt)}]
    names = imports("\n".join(lines))
    found = {name for name in names if any(f"{name}.".startswith(f"{room}.") for room in OUTSIDE)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.add(node.func.id)
        if isinstance(node, ast.Attribute) and node.attr in METHODS and (module, node.attr) not in TEMPLATES:
            found.add(node.attr)
    return found


def test_reports_are_text_and_touch_nothing():
    found = {m: touching(m, s) for m, s in sources().items() if room_of(m) == "reports"}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "Path('x').write_text('y')",
        "def late():\n    import os",
        "from urllib.request import urlopen",
        "from advbench.core import files",
        "Gate.load(path)",
        "print('x')",
    ],
)
def test_the_check_sees_what_touches_the_outside(line):
    assert touching("advbench.reports.table", line)
    assert not touching("advbench.reports.table", "if TYPE_CHECKING:\n    from advbench.data import Dataset")


def test_rooms_are_real_folders_and_the_package_links_to_them():
    for room in LIBRARIES:
        assert (ROOT / "advbench" / room).resolve() == ROOT / room
        assert not (ROOT / room).is_symlink()


@pytest.mark.parametrize("module", ["advbench", "advbench.cli"])
def test_importing_the_command_line_does_not_wait_for_heavy_libraries(module):
    heavy = "{'jax', 'numpy', 'flax', 'optax', 'orbax', 'pydantic', 'matplotlib', 'PIL', 'scipy', 'jinja2'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_package_bears_the_name_of_a_function():
    import advbench

    assert not set(advbench.__all__) & set(ORDER)


def test_the_python_interface_comes_late_but_whole():
    import advbench

    assert all(callable(getattr(advbench, name)) for name in advbench.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = advbench.nonsense
