"""Configuration files: bounded reading, and errors with file and line."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advbench.core.errors import UsageError, unknown
from advbench.core.renamed import KEYS, current
from advbench.gating.rules import Configuration, GateRules, ThreatRules
from advbench.gating.verdict import Place

NAMES = ("advbench.toml", "pyproject.toml")  # searched in this order, in the current folder
LARGEST = 1 << 20  # bytes

Keys = tuple[str | int, ...]

_OPTIONS = {"allow-flags": "allow-flag", "attacks": "attack"}  # repeatable flags have singular names
_HEADER = re.compile(r"\s*(\[\[?)([^\[\]#]+)\]")
_KEY = re.compile(r"\s*([\w.\-\"' ]+?)\s*=")


@dataclass(frozen=True)
class RulesSource:
    """Origin of rules: a file with the line of every key, or the flags of a command.

    Parameters
    ----------
    file : str, optional
        Path of the file; None for flags.
    lines : Mapping[Keys, int], optional
        Line of every key.
    root : Keys, default ()
        Keys that lead to the gate's table.
    """

    file: str | None = None
    lines: Mapping[Keys, int] = field(default_factory=dict)
    root: Keys = ()

    def place(self, keys: Keys) -> Place | None:
        """Return file and line of `keys`, or of the table that contains them.

        Parameters
        ----------
        keys : Keys
            Keys from the gate's table on.

        Returns
        -------
        Place or None
            None for flags.
        """
        if self.file is None:
            return None
        full = (*self.root, *keys)
        line = next((self.lines[full[:n]] for n in range(len(full), 0, -1) if full[:n] in self.lines), 1)
        return Place(file=self.file, line=line)

    def problem(self, keys: Keys, message: str) -> UsageError:
        """Build the error for a wrong key.

        Parameters
        ----------
        keys : Keys
            Keys from the gate's table on.
        message : str
            Description of the problem.

        Returns
        -------
        UsageError
            Error with file and line, or with the flag.
        """
        names = [_printable(key) for key in keys if not isinstance(key, int)]
        if (place := self.place(keys)) is None:
            flags = [_OPTIONS.get(name, name) for name in names if name != "threats"]
            return UsageError(f"--{flags[0]}: {message}" if flags else message)
        return UsageError(f"{place.file}:{place.line}: {': '.join([*names[-1:], message])}")


def discover() -> Path | None:
    """Find the configuration in the current folder.

    Returns
    -------
    Path or None
        Path, None if there is none.
    """
    for path in map(Path, NAMES):
        if path.is_file() and (path.name != "pyproject.toml" or "gate" in _table(_parsed(path)[1], path)):
            return path
    return None


def read(
    path: Path, overrides: Mapping[str, Any], notify: Callable[[str], None] = lambda _: None
) -> tuple[GateRules, RulesSource]:
    """Read the rules in a TOML file, with some settings of the gate replaced by flags.

    Parameters
    ----------
    path : Path
        Path of the file.
    overrides : Mapping[str, Any]
        Settings of the gate by key.
    notify : callable
        Receives a line for each key that has a new name since.

    Returns
    -------
    tuple[GateRules, RulesSource]
        The rules and their places.

    Raises
    ------
    UsageError
        In one line, with file and line, for an invalid configuration.
    """
    text, content = _parsed(path)
    table = _table(content, path)
    root: Keys = ("tool", "advbench", "gate") if path.name == "pyproject.toml" else ("gate",)
    lines = line_numbers(text)
    source = RulesSource(str(path), lines, root)
    if "gate" not in table and set(table) <= {"gate"}:
        raise UsageError(f"{path} has no [{'.'.join(map(str, root))}]")
    if isinstance(table.get("gate"), dict):
        try:
            written = current(table["gate"], lambda text: notify(f"{path}: {text}"), dashes=True)
        except UsageError as error:
            raise source.problem((), str(error)) from None
        lines |= {(*root, new): lines[*root, old] for old, new in KEYS.items() if (*root, old) in lines}
        table = {**table, "gate": {**written, **overrides}}
    return validated(table, source), source


def validated(table: Mapping[str, Any], source: RulesSource) -> GateRules:
    """Check a configuration.

    Parameters
    ----------
    table : Mapping[str, Any]
        Content of the file.
    source : RulesSource
        Places of the keys.

    Returns
    -------
    GateRules
        The rules.

    Raises
    ------
    UsageError
        For the first problem; an unknown key with the nearest known one.
    """
    try:
        return Configuration.model_validate(table).gate
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    keys = first["loc"][1:] if first["loc"][:1] == ("gate",) else first["loc"]
    if first["type"] == "extra_forbidden":
        name = str(keys[-1])
        known = ThreatRules.keys() if "threats" in keys else GateRules.keys() if len(first["loc"]) > 1 else ["gate"]
        raise source.problem(keys, str(unknown("key", name[:40], known)))
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else _plain(first)
    raise source.problem(keys, message)


def _printable(key: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in key[:40])


def _plain(error: Any) -> str:
    if error["type"] == "model_type":
        return "should be a table of keys" if error["loc"][1:] else "gate should be a table of keys"
    if error["type"] == "tuple_type":
        return "should be an array"
    shown = repr(error["input"])
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
    message: str = error["msg"]
    return f"{shown}: {message[0].lower()}{message[1:]}"


def line_numbers(text: str) -> dict[Keys, int]:
    """Return the line of every table and key; arrays of tables are numbered.

    Parameters
    ----------
    text : str
        TOML text.

    Returns
    -------
    dict[Keys, int]
        Lines from 1, by keys.
    """
    found: dict[Keys, int] = {}
    counts: Counter[Keys] = Counter()
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            names = _split(header[2])
            counts[names] += header[1] == "[["
            table = _numbered(names, counts)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_split(key[1])), number)
    return found


def _split(name: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in name.split("."))


def _numbered(names: Keys, counts: Mapping[Keys, int]) -> Keys:
    """Add to table names the number of the array's element that they belong to."""
    keys: list[str | int] = []
    for at, name in enumerate(names, start=1):
        keys.append(name)
        if counts[names[:at]]:
            keys.append(counts[names[:at]] - 1)
    return tuple(keys)


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if not path.is_file():
            path.stat()  # raises the reason if it is absent or a loop of links
            raise UsageError(f"{path} is not a file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None
    if len(content) > LARGEST:
        raise UsageError(f"{path} is larger than {LARGEST:,} bytes: that is no configuration")
    try:
        text = content.decode("utf-8-sig")  # some editors put a byte-order mark first
        return text, tomllib.loads(text)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError):
        raise UsageError(f"{path} is not TOML that can be read: too deep, or a number too long") from None


def _table(content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the part of the file that belongs to advbench."""
    if path.name != "pyproject.toml":
        return content
    for key in ("tool", "advbench"):
        inner = content.get(key, {})
        content = inner if isinstance(inner, dict) else {}
    return content
