"""Documents say what is: commands, names, settings, links and Python in them are held against the code."""

import json
import re
import subprocess
import sys

import pytest

from . import commands
from .documents import REFUSED, ROOT, Document, documents, problem_of_setting

DOCUMENTS = {document.name: document for document in documents()}

STAND_INS = {
    "README.md": "my_logits images labels",
    "docs/python.md": "model images labels data result",
    "docs/models.md": "MyLinenNet SmallCNN load_my_weights my_gradient my_logits",
    "docs/defenses.md": "Defense PGD optax",
}
"""Names that the Python of a document leaves to its reader."""

UNTYPED = ("no-untyped-def", "no-untyped-call", "no-any-return", "misc")
"""What examples may do, though our own code may not."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the commands of documents are taken to run: beside the configuration that docs/gate.md shows."""
    (rules,) = [block.text for block in DOCUMENTS["docs/gate.md"].blocks if block.language == "toml"]
    (tmp_path / "advbench.toml").write_text(rules)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_says_is_so(name, folder):
    assert DOCUMENTS[name].problems() == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("    advbench train mnist --arch resnet18", "unknown network 'resnet18'"),
        ("    advbench train minst", "unknown data set 'minst'"),
        ("    advbench train mnist --defense trades:betta=6", "unknown setting of trades 'betta'"),
        ("    advbench train mnist --optimizer adamm", "unknown optimizer 'adamm'"),
        ("    advbench train mnist --epochs 0", "--epochs"),
        ("    $ advbench attack mnist-pdg", "unknown model 'mnist-pdg'"),
        ("    advbench attack mnist-pgd --esp 0.3", "--esp"),
        ("    advbench attack mnist-pgd --norm l3", "unknown norm 'l3'"),
        ("    advbench attack mnist-pgd --norm l2", "needs an --eps"),
        ("    advbench attack mnist-pgd --attack pgd:step=9", "unknown setting of pgd 'step'"),
        ("    advbench attack mnist-pgd --norm l0 --eps 9 --attack ddn", "l0"),
        ("    advbench attack mine.py:net", "name it with --data"),
        ("    advbench attack mnist-pgd --input-defense jpeg:quality=ten", "quality"),
        ("    advbench attack mnist-pgd --preflight ful", "--preflight"),
        ("    advbench bench mnist-pgd \\\n        mnist-pdg", "unknown model 'mnist-pdg'"),
        ("    X=1 srun -n 2 advbench corruptions mnist-pgd --kind fogg", "unknown mnist corruption 'fogg'"),
        ("    advbench gate mnist-pgd --min-robust 40", "40"),
        ("    advbench gate advbench.toml --report junk=a.xml", "unknown report format 'junk'"),
        ("    advbench list attacks --detail pdg", "unknown attack 'pdg'"),
        ("    advbench data fech mnist", "no command 'data'"),
        ("    advbench list atacks", "atacks"),
        ("    advbench certify mnist-ibp --method crwn", "crwn"),
        ("    make tset", "no tset"),
        ("    python benchmarks/parity.py --wirte", "no option --wirte"),
        ("    python benchmarks/paritee.py", "no benchmarks/paritee.py"),
        ("    from advbench import nothing", "looks like Python"),
        ("```python\nfrom advbench import evaluate, lode_data\n```", "advbench has no lode_data"),
        ("```python\ndef f(:\n```", "no Python"),
        ("Say `advbench atack`.", "no command 'atack'"),
        ("Say `advbench attack --esp`.", "no option --esp"),
        ("Say `--checkz full`.", "no command has this option"),
        ("Say `--defense tardes`.", "unknown defense 'tardes'"),
        ("Say `apgd:los=dlr`.", "unknown setting of apgd 'los'"),
        ("Look at `tests/test_nothing.py`.", "no such file"),
        ("Call `advbench.data.lode`.", "has no lode"),
        ("See [this](other.md).", "dead link: other.md"),
        ("See [this](../outside.md).", "dead link"),
        ("See [this](here.md#nowhere).", "dead anchor"),
        ("![A picture](images/none.png)", "dead link"),
    ],
)
def test_a_mistake_in_a_document_is_found(text, problem, folder):
    (folder.parent / "outside.md").touch()
    path = folder / "here.md"
    path.write_text(f"# Title\n\n{text}\n")
    (found,) = Document(path, path.read_text(), folder).problems()
    assert re.match(r"here\.md:[34]: ", found) and problem in found


def test_what_is_right_is_not_complained_of(folder):
    path = folder / "here.md"
    path.write_text(
        "# A `b`, c\n## Twice\n## Twice\n[a](#a-b-c) [b](#twice-1) `advbench attack MODEL --out DIR` `--model NAME`"
    )
    assert Document(path, path.read_text(), folder).problems() == []


def test_what_is_named_since_it_is_refused_is_refused():
    assert [text for text in REFUSED if problem_of_setting(text) is None] == []


def test_every_text_that_a_command_takes_is_read_or_known_to_be_free():
    known = commands.READERS.keys() | commands.TOGETHER | commands.FREE
    assert set(commands.texts()) == known


# Python


def typed(blocks, folder):
    """What mypy says of blocks of Python: (document, line, text, names that are left open), one problem a line."""
    for number, (_, line, text, names) in enumerate(blocks):
        head = "".join(f"{name}: Any; " for name in names.split())
        padding = "\n" * (line - 2)
        (folder / f"block_{number}.py").write_text(f"from typing import Any; {head}\n{padding}{text}")
    command = [sys.executable, "-m", "mypy", "--no-error-summary"]
    paths = [str(folder / f"block_{number}.py") for number in range(len(blocks))]
    said = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode in (0, 1), said.stderr
    found = re.findall(r"block_(\d+)\.py:(\d+): error: (.*)  \[(.*)\]", said.stdout)
    return [f"{blocks[int(number)][0]}:{line}: {what}" for number, line, what, code in found if code not in UNTYPED]


def test_python_in_documents_has_the_types_that_the_code_has(tmp_path):
    blocks = [
        (name, block.line, block.text, STAND_INS.get(name, ""))
        for name, document in DOCUMENTS.items()
        for block in document.blocks
        if block.language == "python"
    ]
    assert len(blocks) >= 10
    wrong = 'from advbench import evaluate\nevaluate(1, norm="l2", eps=1, sed=1)\nevaluate.robust\n'
    problems = typed([*blocks, ("wrong", 7, wrong, "")], tmp_path)
    assert [problem for problem in problems if not problem.startswith("wrong:")] == []
    first, second = problems
    assert first.startswith("wrong:8:") and "sed" in first
    assert second.startswith("wrong:9:") and "robust" in second


def test_files_shown_in_documents_can_be_read(folder):
    from advbench.gating.source import read

    blocks = [(d, b) for d in DOCUMENTS.values() for b in d.blocks if b.language in ("toml", "json")]
    assert blocks
    for document, block in blocks:
        if block.language == "json":
            json.loads(block.text)
        elif "[gate]" in block.text:
            (folder / "advbench.toml").write_text(block.text)
            assert read(folder / "advbench.toml", {})[0].threats, document.name
