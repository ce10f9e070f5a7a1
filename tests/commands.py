"""Command lines, parsed and understood by the application's own code, and not run."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from typer.main import get_command

from advbench.api.defaults import cascade, threats_of
from advbench.api.settings import seconds
from advbench.attacks import NORMS
from advbench.attacks.spec import attacks_of
from advbench.cli import app, gate_reports
from advbench.cli.listing import Kind, described
from advbench.core.errors import AdvbenchError, UsageError, unknown
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import Preprocess
from advbench.core.spec import ThreatSpec, build
from advbench.core.usercode import split_code
from advbench.data.catalog import find
from advbench.data.corruptions import COLOUR, GREY
from advbench.defenses import DEFENSES
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import check
from advbench.models import exported, robustbench
from advbench.models.load import RELEASED, released
from advbench.nn import MODELS
from advbench.preflight.expected import accuracy_range
from advbench.remote import is_target
from advbench.wrappers import WRAPPERS

PLACEHOLDERS = {
    "MODEL": "mnist-pgd",
    "MODEL...": "mnist-pgd",
    "DATASET": "mnist",
    "RUN": "runs/mine",
    "RUN...": "runs/mine",
    "FILE": "file",
    "DIR": "folder",
    "N": "1",
    "NAME": None,  # of whatever the option names
    "...": None,
}
"""Words in capitals that stand for others, and a value that will do; None where the word is left out."""

ARCHIVES = (".onnx", ".onnx.gz", ".safetensors", exported.SUFFIX)


def leaves() -> dict[str, Any]:
    """Every command that does something, by its words: `attack`, `data fetch`."""
    found: dict[str, Any] = {}

    def walk(words: tuple[str, ...], node: Any) -> None:
        for name, child in getattr(node, "commands", {}).items():
            if hasattr(child, "commands"):
                walk((*words, name), child)
            else:
                found[" ".join([*words, name])] = child

    walk((), get_command(app))
    return found


LEAVES = leaves()


def problem_of(words: list[str], *, named: bool = False) -> str | None:
    """What is wrong with the words after `advbench`; `named` where a sentence may name a command and no more."""
    path = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in LEAVES), None)
    if path is None:
        groups = {word.split()[0] for word in LEAVES if " " in word}
        alone = words in ([], ["--help"], ["--version"]) or (named and words[0] in (*groups, "...") and not words[1:])
        return None if alone else f"there is no command {words[0]!r}"
    rest = words[len(path.split()) :]
    if "--help" in rest:
        return None
    if named and all(word.startswith("-") for word in rest):
        strange = [word for word in rest if not any(word in spelled(param) for param in LEAVES[path].params)]
        return f"{path} has no option {strange[0]}" if strange else None
    try:
        understand(path, _filled(rest))
    except (AdvbenchError, ValueError) as error:
        return str(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # the parser's own
            raise
        return str(error.format_message())
    return None


def _filled(words: list[str]) -> list[str]:
    """Placeholders replaced; an option whose name is left open goes with it."""
    found: list[str] = []
    for word in words:
        if word in PLACEHOLDERS and PLACEHOLDERS[word] is None:
            if word != "..." and found and found[-1].startswith("-"):
                found.pop()
        else:
            found.append(str(PLACEHOLDERS.get(word, word)))
    return found


def understand(path: str, words: list[str]) -> None:
    """Parse the words of a command, and read every name and setting in them.

    Raises
    ------
    AdvbenchError, ValueError
        For what the command itself would refuse before it computes.
    Exception
        The parser's own, with `format_message`.
    """
    node = LEAVES[path]
    params = node.make_context(path, list(words)).params
    for name, value in params.items():
        if name in READERS and value is not None:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                READERS[name](str(each))
    if path == "train":
        _train(params)
    elif path == "gate":
        _gate(node, words, params)
    elif path == "data fetch":
        find(params["name"])
    elif path == "list" and params["detail"]:
        described(Kind(params["kind"]), params["detail"])
    elif {"model", "models"} & params.keys():
        _evaluation(params, path)


def _train(params: dict[str, Any]) -> None:
    info = _dataset(params["dataset"])
    if params["arch"] not in MODELS and not split_code(params["arch"]):
        raise unknown("network", params["arch"], MODELS)
    if params["init"]:
        _model(params["init"])
    if info:
        norm, eps, size = info.default_norm, info.default_eps, info.splits["train"]
    elif params["norm"] and params["eps"]:
        norm, eps, size = "", "", 10_000  # images of the reader's own, as many as any recipe needs
    else:
        raise UsageError("images of one's own have no usual threat model: name --norm and --eps")
    threat = ThreatSpec.parse(params["norm"] or norm, params["eps"] or eps)
    given = {field.name: params[field.name] for field in fields(Recipe)}
    recipe = Recipe(**{name: value for name, value in given.items() if value is not None})
    size = params["train_size"] or size
    check(build("defense", params["defense"], DEFENSES), threat.threat, size, recipe, extra=bool(params["extra_data"]))


def _dataset(text: str) -> Any:
    """The data set of a name; None for a path, which is taken to be the reader's own images."""
    return None if text.startswith("./") else find(text)


def _evaluation(params: dict[str, Any], path: str) -> None:
    models = params.get("models") or [params["model"]]
    for text in filter(None, models):
        model = _model(text)
        if "data" not in params:
            continue
        data = params["data"] or model.dataset
        if data is None:
            raise UsageError(f"{text} does not say which data it is for: name it with --data")
        for name in params.get("kind") or ():
            known = GREY if find(data).shape[-1] == 1 else COLOUR
            if name not in known:
                raise unknown(f"{data} corruption", name, known)
        if "norm" in params:
            threats = threats_of(model, data, params["norm"], params["eps"])
            for threat in threats:
                attacks_of(params.get("attacks") or cascade(model, threat.norm, len(find(data).classes)), threat)
        if params.get("curve") and len(threats) < 2:
            raise UsageError("--curve needs several eps")
        if params.get("resume") and not params["out"]:
            raise UsageError("--resume needs --out")
    if "input_layout" in params:
        Preprocess.parse(params["input_layout"], params["mean"], params["std"])


def _gate(node: Any, words: list[str], params: dict[str, Any]) -> None:
    """Its own `--check` reads the rules, of the file in the working directory too."""
    for text in filter(None, (params["target"], params["model"])):
        if not text.endswith(".toml"):
            _model(text)
    if not params["schema"]:
        with contextlib.redirect_stdout(io.StringIO()):
            node.invoke(node.make_context("gate", [*words, "--check"]))
    for text in params["attacks"] or ():
        _attack(text)


def _model(text: str) -> LoadedModel:
    """What a model's name alone says of it; run directories are taken to be of MNIST, or of what the data say.

    Raises
    ------
    UsageError
        For a name that is none of a released model, a file, a URL or code.
    """
    made: dict[str, Any] = {"predict": None, "shape": None, "classes": None, "digest": "", "source": text}
    if text in released():
        manifest = json.loads((RELEASED / text / "model.json").read_text())
        return LoadedModel(text, dataset=manifest["dataset"], record=manifest["record"], **made)
    if text.startswith(robustbench.PREFIX):
        dataset, threat, _ = robustbench._parts(text)
        return LoadedModel(text, dataset=dataset, record={"threat": robustbench.THREATS[threat]}, **made)
    if is_target(text):
        return LoadedModel(text, dataset=None, access="score", **made)
    if re.fullmatch(r"[\w./-]+:[A-Za-z_]\w*", text) or text.endswith(ARCHIVES):
        return LoadedModel(text, dataset=None, **made)
    if "/" not in text:
        raise unknown("model", text, released())
    return LoadedModel(text, dataset="cifar10" if "cifar10" in text else "mnist", **made)


def _attack(text: str) -> None:
    """Under whatever norm it serves."""
    problems = []
    for norm in NORMS:
        try:
            attacks_of([text], ThreatSpec.parse(norm, "1" if norm in ("l0", "any") else "0.5"))
            return
        except UsageError as error:
            problems.append(error)
    raise problems[0]


def _wrapper(text: str) -> None:
    build("input defense", text, WRAPPERS).check((32, 32, 3))


def _norm(text: str) -> None:
    if text not in NORMS:
        raise unknown("norm", text, NORMS)


def _eps(text: str) -> None:
    for each in text.split(","):
        ThreatSpec.parse("l2", each)


def _defense(text: str) -> None:
    build("defense", text, DEFENSES)


def _indices(text: str) -> None:
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text) and not re.fullmatch(r"[\w./-]*[a-z][\w./-]*", text):
        raise UsageError(f"{text} is neither numbers nor a file")


READERS: dict[str, Callable[[str], Any]] = {
    "dataset": _dataset,
    "data": find,
    "attacks": _attack,
    "defense": _defense,
    "input_defense": _wrapper,
    "norm": _norm,
    "eps": _eps,
    "time_limit": seconds,
    "indices": _indices,
    "expect_clean": accuracy_range,
    "report": lambda text: gate_reports.wanted([text]),
    "seeds": lambda text: [int(number) for number in text.split(",")],
    "input_layout": lambda text: Preprocess.parse(text, None, None),
    "mean": lambda text: Preprocess.parse(None, text, None),
    "std": lambda text: Preprocess.parse(None, None, text),
}
"""How the text of a parameter is read, by its name in the code."""

TOGETHER = {
    *("model", "models", "target", "name", "kind", "detail"),
    *("optimizer", "schedule", "milestones", "augment", "mix", "perturb_dtype", "class_weights", "sampler"),
    *("arch", "init"),
    *("min_robust", "min_clean", "max_drop", "min_class", "min_worst_class", "baseline"),
}
"""Texts that `understand` reads by the command they stand in."""

FREE = {
    *("json", "markdown", "html", "latex", "robustbench", "figure", "curve", "plot", "out"),
    *(
        "run",
        "runs",
        "before",
        "after",
        "folder",
        "file",
        "source",
        "weights",
        "extra_data",
        "allow_flag",
        "logits",
        "interpolation",
        "classes",
        "thumbnails",
        "path",
        "transparent",
    ),
}
"""Texts that may be anything, or name files of the reader's own."""


def texts() -> Iterator[str]:
    """Names of all parameters of the application whose value is a text or a path."""
    for node in LEAVES.values():
        hints = typing.get_type_hints(inspect.unwrap(node.callback))
        for name, hint in hints.items():
            inner = {hint, *typing.get_args(hint)}
            inner |= {each for part in inner for each in typing.get_args(part)}
            if name != "return" and inner & {str, Path}:
                yield name


def spelled(param: Any) -> tuple[str, ...]:
    return (*param.opts, *param.secondary_opts)


def readers_of(option: str) -> list[Callable[[str], Any]] | None:
    """How the commands that have an option read its value; None if none has it."""
    having = [param.name for node in LEAVES.values() for param in node.params if option in spelled(param)]
    return [READERS[name] for name in having if name in READERS] if having else None


def forms_of(option: str) -> set[str]:
    """Forms of an option's value in the help, like `none|fast|full`."""
    return {str(param.metavar) for node in LEAVES.values() for param in node.params if option in spelled(param)}
