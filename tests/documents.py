"""What documents say that a machine can check: command lines, names, links, Python."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from advbench.attacks import ATTACKS, SUITES
from advbench.core.errors import AdvbenchError
from advbench.core.usercode import split_code
from advbench.defenses import DEFENSES
from advbench.models.load import released
from advbench.nn import MODELS
from advbench.wrappers import WRAPPERS

from .commands import PLACEHOLDERS, READERS, forms_of, problem_of, readers_of

ROOT = Path(__file__).parents[1]
SHELLS = ("", "sh", "console")  # languages of a block whose lines may be commands; indented blocks have none
LAUNCHERS = ("srun",)  # programs that run the command after their own options
JOINTS = ("|", "&&", ";", ">", ">>", "||")
ROOMS = "advbench|attacks|defenses|tests|benchmarks|docs|examples"
FILES = ("toml", "json", "yml")  # `advbench.toml` is a file, `advbench.data` a module


def documents() -> list[Document]:
    """Every document that a reader of the repository meets."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return [Document(path, path.read_text(encoding="utf-8")) for path in sorted(paths)]


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, and the line of the document on which that begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Document:
    """A Markdown file."""

    path: Path
    text: str
    root: Path = ROOT  # links may lead to what is below it

    @cached_property
    def tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        """Fenced and indented blocks."""
        fenced = [
            Block(t.info.strip(), t.content, t.map[0] + 2)
            for t in self.tokens
            if t.type == "fence" and t.map is not None
        ]
        indented = [
            Block("", t.content, t.map[0] + 1) for t in self.tokens if t.type == "code_block" and t.map is not None
        ]
        return fenced + indented

    @cached_property
    def spans(self) -> list[tuple[int, Token]]:
        """What stands within paragraphs, headings and tables, with the line where the paragraph begins."""
        found, line = [], 0
        for token in self.tokens:
            line = token.map[0] + 1 if token.map else line
            found += [(line, child) for child in token.children or ()]
        return found

    @cached_property
    def code(self) -> list[tuple[int, str]]:
        """Code within text, on one line each."""
        return [(line, " ".join(t.content.split())) for line, t in self.spans if t.type == "code_inline"]

    @cached_property
    def anchors(self) -> set[str]:
        """Names of the headings, as GitHub makes them."""
        found: set[str] = set()
        for before, token in zip(self.tokens, self.tokens[1:], strict=False):
            if before.type == "heading_open":
                text = "".join(child.content for child in token.children or ())
                name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                twins = sum(name == re.sub(r"-\d+$", "", other) for other in found)
                found.add(f"{name}-{twins}" if name in found else name)
        return found

    @property
    def name(self) -> str:
        return str(self.path.relative_to(self.root))

    def problems(self) -> list[str]:
        """Everything that is wrong, each with file and line."""
        found = [*self._commands(), *self._python(), *self._links(), *self._mentions()]
        return [f"{self.name}:{line}: {what}" for line, what in sorted(found)]

    def _commands(self) -> Iterator[tuple[int, str]]:
        for block in self.blocks:
            if block.language in SHELLS:
                for line, words in command_lines(block.text):
                    if problem := problem_of_line(words):
                        yield block.line + line, f"{shlex.join(words)}: {problem}"

    def _python(self) -> Iterator[tuple[int, str]]:
        """Syntax and imports; types are for mypy, which knows nothing of what `advbench` imports late."""
        for block in self.blocks:
            if block.language != "python":
                if re.match(r"(from|import|def|class) \w|@\w", block.text):
                    yield block.line, "this looks like Python: mark it as ```python, so that its types are checked"
                continue
            try:
                tree = ast.parse(block.text)
            except SyntaxError as error:
                yield block.line + (error.lineno or 1) - 1, f"no Python: {error.msg}"
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "advbench":
                    for name in node.names:
                        if problem := problem_of_name(f"{node.module}.{name.name}"):
                            yield block.line + node.lineno - 1, problem

    def _links(self) -> Iterator[tuple[int, str]]:
        for line, token in self.spans:
            target = str(token.attrs.get("href", token.attrs.get("src", "")))
            if not target or re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = (self.path.parent / file).resolve() if file else self.path
            if not path.exists() or not path.is_relative_to(self.root):
                yield line, f"dead link: {target}"
            elif anchor:
                there = self if path == self.path else Document(path, path.read_text(encoding="utf-8"), self.root)
                if anchor not in there.anchors:
                    yield line, f"dead anchor: {target}"

    def _mentions(self) -> Iterator[tuple[int, str]]:
        for line, text in self.code:
            if problem := problem_of_mention(text):
                yield line, f"`{text}`: {problem}"


def command_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a block that a shell would run, as words, with their offset; what a program says is left out."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        first, line = at, lines[at]
        while line.endswith("\\") and at + 1 < len(lines):
            at += 1
            line = line[:-1] + lines[at]
        at += 1
        try:
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        except ValueError:  # an apostrophe in what a program says
            continue
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        if words and words[0] in LAUNCHERS:
            words = words[words.index("advbench") :]
        if words and words[0] in ("advbench", "python", "make"):
            end = next((i for i, word in enumerate(words) if word in JOINTS), len(words))
            yield first, words[:end]


def problem_of_line(words: list[str]) -> str | None:
    """What is wrong with a command line, if it is one of ours."""
    program, *rest = words
    if program == "advbench":
        return problem_of(rest)
    if program == "make":
        heads = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        targets = " ".join(heads).split()
        missing = [word for word in rest if re.fullmatch("[a-z-]+", word) and word not in targets]
        return f"the Makefile has no {missing[0]}" if missing else None
    script = rest[1].replace(".", "/") + ".py" if rest[0] == "-m" else rest[0]
    if not (ROOT / script).is_file():
        return None if rest[0] == "-m" and not script.startswith("advbench/") else f"there is no {script}"
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    unknown = [option for option in options if f'"{option}"' not in (ROOT / script).read_text()]
    return f"{script} has no option {unknown[0]}" if unknown else None


def problem_of_mention(text: str) -> str | None:
    """What is wrong with code within a sentence, as far as it speaks of what we have."""
    if text in REFUSED:
        return None
    if text.startswith("advbench ") and "[" not in text:
        words = text.partition("|")[0].rstrip("\\ ").split()
        return problem_of(words[1:], named=True)
    if text.startswith(("make ", "python ")):
        return problem_of_line(text.split())
    if re.fullmatch(rf"(?:{ROOMS})/[\w./-]+", text):
        return None if (ROOT / text).exists() else "there is no such file"
    if re.fullmatch(r"advbench(\.\w+)+(\(.*\))?", text) and not text.endswith(FILES):
        return problem_of_name(text.partition("(")[0])
    if re.fullmatch(r"[a-z][a-z0-9-]*:[a-z_]+=\S*", text):
        return problem_of_setting(text)
    if option := re.fullmatch(r"(--?[a-z][a-z-]*)(?:[ =](\S+))?", text):
        return problem_of_option(option[1], option[2])
    return None


def problem_of_name(dotted: str) -> str | None:
    """Whether `advbench.some.thing` can be imported, attribute after attribute."""
    here = importlib.import_module("advbench")
    for name in dotted.split(".")[1:]:
        try:
            here = getattr(here, name) if hasattr(here, name) else importlib.import_module(f"{here.__name__}.{name}")
        except (ImportError, AttributeError):
            return f"{here.__name__} has no {name}"
    return None


def problem_of_option(option: str, value: str | None) -> str | None:
    """Of an option named in a sentence: one of any command, of a script of ours, or of a program listed here."""
    if option in ("--help", "--version"):
        return None
    if readers_of(option) is not None:
        return problem_of_value(option, value) if value else None
    scripts = [*ROOT.glob("benchmarks/**/*.py"), ROOT / "advbench" / "wrappers" / "train.py"]
    if any(f'"{option}"' in script.read_text() for script in scripts):
        return None
    return None if option in FOREIGN else "no command has this option"


def problem_of_value(option: str, value: str) -> str | None:
    """What is wrong with the value that a sentence gives to an option."""
    if value in PLACEHOLDERS or value.isupper() or value in forms_of(option):
        return None
    if option == "--model" and "/" not in value and value not in released():
        return f"there is no model {value!r}"
    if option == "--arch" and not split_code(value) and value not in MODELS:
        return f"there is no network {value!r}"
    return _refusal(readers_of(option) or [], value)


def problem_of_setting(text: str) -> str | None:
    """What is wrong with `name:key=value`, whichever registry has the name."""
    name = text.partition(":")[0]
    homes = {"attacks": ATTACKS | SUITES, "defense": DEFENSES, "input_defense": WRAPPERS}
    readers = [READERS[kind] for kind, registry in homes.items() if name in registry]
    return _refusal(readers, text) if readers else f"nothing of the name {name!r} has settings"


def _refusal(readers: list[Callable[[str], Any]], text: str) -> str | None:
    """What the readers say against a text; None if one of them takes it, or there are none."""
    said = None
    for read in readers:
        try:
            read(text)
        except (AdvbenchError, ValueError) as error:
            said = str(error)
        else:
            return None
    return said


REFUSED = {"fmn:steps=0"}
"""Mentioned because it is refused."""

FOREIGN = {
    "--junit-xml": "pytest",
    "--requeue": "SLURM",
}
"""Options of other programs that documents name."""
