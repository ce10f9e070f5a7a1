"""Which room may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STDLIB = set(sys.stdlib_module_names)
MAY = {
    "attacks": {"jax", "optax", "numpy", "advbench.attacks"},
    "defenses": {"jax", "optax", "numpy", "flax", "orbax", "tensorboardX", "advbench.attacks", "advbench.defenses"},
}


def imports(source: str) -> set[str]:
    """Modules that the code imports anywhere, also within functions; relative ones as `.name`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def strangers(source: str, room: str) -> set[str]:
    return {
        name
        for name in imports(source)
        if name.split(".")[0] not in STDLIB and not any(name == may or name.startswith(f"{may}.") for may in MAY[room])
    }


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_only_what_lies_below_it(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    assert {str(f.relative_to(ROOT)): s for f in files if (s := strangers(f.read_text(), room))} == {}


@pytest.mark.parametrize(
    "line",
    ["import advbench", "from advbench.data import load", "from advbench.defenses import fit", "import torch"],
)
def test_the_check_sees_what_attacks_may_not_import(line):
    assert strangers(f"def late():\n    {line}", "attacks")


def test_rooms_are_real_folders_and_the_package_links_to_them():
    for room in MAY:
        assert (ROOT / "advbench" / room).resolve() == ROOT / room
        assert not (ROOT / room).is_symlink()


@pytest.mark.parametrize("module", ["advbench", "advbench.cli"])
def test_importing_the_command_line_does_not_wait_for_heavy_libraries(module):
    heavy = "{'jax', 'numpy', 'flax', 'optax', 'orbax', 'pydantic', 'matplotlib', 'PIL', 'scipy', 'jinja2'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_python_interface_comes_late_but_whole():
    import advbench

    assert all(callable(getattr(advbench, name)) for name in advbench.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = advbench.nonsense
