"""Weights for a PyTorch module, found in the various files that training scripts write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from advbench.core.errors import CorruptFile, UsageError

SAFE: Final = (2, 10)  # torch; before it, files made with malice could run code even with weights_only
COUNTERS: Final = "num_batches_tracked"  # of batch norm, which evaluation does not use; older files lack them
DEPTH: Final = 4  # of dictionaries in dictionaries
SHOWN: Final = 6  # pairs of names in a refusal
GOT: Final = re.compile(r"but got <class '([\w.]+)'>")  # a type that PyTorch meets only while it builds an object
ALONE: Final = "torch.save(module.state_dict(), FILE) writes weights alone"

State = Mapping[str, Any]


class WeightSet(NamedTuple):
    """One set of weights in a file: the keys that lead to it, and its arrays by name."""

    keys: tuple[str, ...]  # from the outermost dictionary to it
    state: State


def fill(module: Any, path: Path) -> None:
    """Put the weights of a checkpoint into a module: all names must agree, and all shapes.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    path : Path
        `.safetensors`, or what `torch.save` wrote of a state dict, alone or within dictionaries, beside anything else
        that `weights_only=True` reads: no code in it runs. One prefix that all names share (`module.`, `_orig_mod.`,
        `model.`, `1.`) may be present or missing, and so may `num_batches_tracked`.

    Raises
    ------
    UsageError
        When there is no such file, PyTorch is too old to read it safely, it is for another module, or several sets of
        weights fit.
    CorruptFile
        When it can't be read, or holds more than weights.
    """
    held = _read(path)
    candidates = list(_candidates(held))
    if not candidates:
        raise UsageError(f"{path} holds {_told(held)}, not a state dict: {ALONE}")
    wanted = module.state_dict()
    fitting = {each.keys: state for each in candidates if (state := _fitted(each.state, wanted)) is not None}
    if not fitting:
        raise UsageError(_refusal(path, candidates, wanted))
    states = list(fitting.values())
    if any(not _same(states[0], other) for other in states[1:]):
        told = ", ".join(".".join(keys) or "the file itself" for keys in fitting)
        example = "".join(f"[{key!r}]" for key in list(fitting)[-1])
        raise UsageError(
            f"{path} holds several sets of weights for this module ({told}): save the right one alone, like "
            f"torch.save(torch.load(FILE, weights_only=True){example}, NEW)"
        )
    module.load_state_dict(states[0])


def _candidates(held: Any, keys: tuple[str, ...] = ()) -> Iterator[WeightSet]:
    """Yield every dictionary of arrays by name, outer ones first."""
    if not isinstance(held, Mapping) or len(keys) == DEPTH:
        return
    named = {name: value for name, value in held.items() if isinstance(name, str)}
    if any(hasattr(value, "shape") for value in named.values()):
        yield WeightSet(keys, named)
    for name, value in held.items():
        yield from _candidates(value, (*keys, str(name)))


def _fitted(state: State, wanted: State) -> State | None:
    """Return the arrays under the names of the module, or None if names or shapes don't agree."""
    held = _weights(state, wanted)
    for ours in _without_prefixes(held):
        for prefix in {"", _prefix(wanted)}:
            named = {prefix + name: value for name, value in ours.items()}
            missing = wanted.keys() - named.keys()
            if not named.keys() <= wanted.keys() or not all(name.endswith(COUNTERS) for name in missing):
                continue
            if all(_shape(value) == _shape(wanted[name]) for name, value in named.items()):
                return {**{name: wanted[name] for name in missing}, **named}
    return None


def _weights(state: State, wanted: State) -> State:
    """Select the arrays, and anything else that the module keeps, but not counters and accuracies like `n_averaged`."""
    return {
        name: value
        for name, value in state.items()
        if name in wanted or (hasattr(value, "shape") and (len(value.shape) > 0 or "." in name))
    }


def _without_prefixes(state: State) -> Iterator[State]:
    """Yield the same arrays, with ever more of the prefix removed that all names share."""
    yield state
    while (prefix := _prefix(state)) and len(state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        yield state


def _prefix(state: State) -> str:
    """Return the first part of all names, with its dot; "" if they share none."""
    firsts = {name.partition(".")[0] if "." in name else "" for name in state}
    return f"{first}." if len(firsts) == 1 and (first := firsts.pop()) else ""


def _same(one: State, other: State) -> bool:
    return all((one[name] == other[name]).all() if hasattr(one[name], "shape") else True for name in one)


def _refusal(path: Path, candidates: list[WeightSet], wanted: State) -> str:
    """Describe in one line the set of weights that is nearest to the module's, and the differences."""
    stated = [
        WeightSet(each.keys, arrays)
        for each in candidates
        for arrays in _without_prefixes(_weights(each.state, wanted))
    ]
    keys, held = max(stated, key=lambda each: len(each.state.keys() & wanted.keys()))
    whole = [name for each in candidates if each.keys == keys for name in _weights(each.state, wanted)]
    prefix = whole[0].removesuffix(next(iter(held))) if held else ""
    same = [name for name in wanted if name in held and _shape(held[name]) == _shape(wanted[name])]
    pairs = list(_pairs(held, wanted, set(same), prefix))
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    under = f" under {'.'.join(keys)}" if keys else ""
    return (
        f"{path} is for another module: it holds {len(held)} arrays{under}, the module wants {len(wanted)}, and "
        f"{len(same)} agree; held | wanted: {'; '.join(pairs[:SHOWN])}{more}{_within(held, wanted)}"
    )


def _pairs(held: State, wanted: State, same: set[str], prefix: str) -> Iterator[str]:
    """Yield the differences, the nearest names of both sides as a pair; `prefix` was removed from the names held."""
    left = [name for name in held if name not in same]
    for name in (name for name in wanted if name not in same and not name.endswith(COUNTERS)):
        alike = [other for other in left if _shape(held[other]) == _shape(wanted[name])]
        near = [name] if name in left else difflib.get_close_matches(name, left, 1) or alike[:1]
        if near:
            left.remove(near[0])
        yield f"{prefix + _one(near[0], held) if near else 'nothing'} | {_one(name, wanted)}"
    yield from (f"{prefix}{_one(name, held)} | nothing" for name in left)


def _within(held: State, wanted: State) -> str:
    """Say what to do if one side is a part of the other, for instance behind a normalisation."""
    for prefix, part in _parts(held):
        if _fitted(part, wanted):
            return f"; its {prefix!r} alone is what the module wants: let the factory make all of it, or save that part"
    for prefix, part in _parts(wanted):
        if _fitted(held, part):
            return f"; it is the module's {prefix!r} alone: load it there, in the factory"
    return ""


def _parts(state: State) -> Iterator[tuple[str, State]]:
    """Yield the arrays of each first part of names, without that part."""
    for prefix in sorted({f"{name.partition('.')[0]}." for name in state if "." in name}):
        yield prefix, {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _one(name: str, state: State) -> str:
    return f"{name} {_shape(state[name])}"


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if hasattr(value, "shape") else type(value).__name__


def _told(held: Any) -> str:
    """Describe the content of a file without arrays."""
    if not isinstance(held, Mapping):
        return type(held).__name__
    return f"a dictionary of {', '.join(f'{key} ({type(value).__name__})' for key, value in list(held.items())[:9])}"


def _read(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise UsageError(f"no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
            raise UsageError(f"torch {torch.__version__} can't read {path} safely: install torch 2.10, or convert it")
        return torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except Exception as error:  # whatever damaged bytes make of a reader
        raise CorruptFile(_why_not(path, error)) from error


def _why_not(path: Path, error: Exception) -> str:
    """Explain why PyTorch does not read a file with `weights_only=True`."""
    if path.suffix == ".pt2":
        return f"{path} is a program of torch.export: return torch.export.load(FILE).module() in the factory"
    if "TorchScript" in str(error):
        return f"{path} is a TorchScript archive, which holds code: return torch.jit.load(FILE) in the factory"
    if refused := _refused(path) or GOT.findall(str(error)):
        names = ", ".join(refused)
        if any(name.startswith("torch.nn.") or "." not in name for name in refused):
            return f"{path} holds more than weights ({names}), as of a whole module: let the factory make it; {ALONE}"
        return (
            f"{path} holds more than weights ({names}), which is not unpickled, since that runs code: {ALONE}; or, if "
            f"you trust the file, call torch.serialization.add_safe_globals([{names}]) in the factory"
        )
    why = str(error).split(". ")[0].split("\n")[0]
    return f"{path} is damaged or holds more than weights ({why[:200]}); {ALONE}"


def _refused(path: Path) -> list[str]:
    """List types and functions that a file needs and that are not allowed; empty if they can't be found out."""
    import torch

    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))[:9]
    except Exception:  # damaged, or no zip file
        return []
