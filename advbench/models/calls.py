"""Calling conventions of other JAX libraries, and errors that show the call to write."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from advbench.core.errors import AdvbenchError, UsageError

MODES: Final = {
    "train": "False",
    "training": "False",
    "is_training": "False",
    "deterministic": "True",
    "eval": "True",
    "inference": "True",
    "use_running_average": "True",
}
"""Values in evaluation of the arguments that set the mode of a model."""


def is_made_by(thing: Any, library: str, kind: str) -> bool:
    """Return whether an object is an instance of a library's class, without importing the library.

    Parameters
    ----------
    thing : Any
        Any object.
    library, kind : str
        Module and class, like "flax.linen" and "Module".

    Returns
    -------
    bool
        False while the library is not imported.
    """
    return library in sys.modules and isinstance(thing, getattr(sys.modules[library], kind, ()))


def refuse_pair(function: Any, second: Any, spec: str) -> None:
    """Refuse a pair that looks like `(apply, params)` but can't be called as such.

    Parameters
    ----------
    function, second : Any
        The pair.
    spec : str
        Name of the factory, for messages.

    Raises
    ------
    UsageError
        With the call to write.
    """
    names = _required(function)
    if is_made_by(function, "equinox", "Module"):
        raise UsageError(f"{spec} returned an Equinox module and its state: {_equinox(function)}")
    if getattr(function, "__name__", "") == "init_fn" or (callable(second) and names[:1] == ["rng"]):
        call = _haiku("net.apply", _required(second))
        raise UsageError(f"{spec} returned Haiku's pair of init and apply: {call}, with params of net.init")
    if names[1:2] in (["rng"], ["state"]) and not _is_linen(function):
        call = _haiku("apply", names)
        raise UsageError(f"{spec} returned an apply that takes {', '.join(names)}, as Haiku's does: {call}")
    if missing := names[1 if _is_linen(function) else 2 :]:  # behind images, and params before them
        raise UsageError(
            f"{spec} returned a model whose call needs {', '.join(missing)} too: {_call(function, missing)}"
        )


def refuse_other(made: Any, spec: str) -> None:
    """Refuse an object that is not a model, with the call to write if it contains one.

    Parameters
    ----------
    made : Any
        Returned by the factory.
    spec : str
        Name of the factory, for messages.

    Raises
    ------
    UsageError
        Always.
    """
    if isinstance(made, tuple) and len(made) == 3 and callable(made[0]):
        names = _required(made[0])
        raise UsageError(f"{spec} returned an apply, its params and its state: {_haiku('apply', names)}")
    kind = type(made).__name__
    raise UsageError(f"{spec} returned {kind}, which is not a model: give a callable, or (apply, params)")


def refuse_alone(made: Any, spec: str) -> None:
    """Refuse a model that can't be called on images alone.

    Parameters
    ----------
    made : Any
        Returned by the factory.
    spec : str
        Name of the factory, for messages.

    Raises
    ------
    UsageError
        With the object to return.
    """
    if is_made_by(made, "flax.linen", "Module"):
        raise UsageError(f"{spec} returned a Flax Linen module without its variables: return (net, variables)")
    if (missing := _required(made)[1:]) and not is_made_by(made, "equinox", "Module"):
        first = "call net.eval(), and " if is_made_by(made, "flax.nnx", "Module") else ""
        raise UsageError(
            f"{spec} returned a model whose call needs {', '.join(missing)} too: {first}{_call(None, missing)}"
        )


def hinted(function: Callable[..., Any], model: Any) -> Callable[..., Any]:
    """Wrap a function so that its errors show the call to write, where the kind of the model implies one.

    Parameters
    ----------
    function : callable
        Takes arrays.
    model : Any
        The model that the function calls, as the factory returned it.

    Returns
    -------
    callable
        With the same results.
    """
    if not (hint := _hint(model)):
        return function

    def run(*arrays: Any) -> Any:
        try:
            return function(*arrays)
        except AdvbenchError:
            raise
        except Exception as error:  # whatever the user's code may raise
            said = (str(error).strip() or "no message").splitlines()[0]
            raise UsageError(f"the model failed: {type(error).__name__}: {said[:200]}; {hint}") from error

    return run


def _hint(model: Any) -> str:
    if is_made_by(model, "equinox", "Module"):
        return _equinox(model)
    modes = [name for name in _parameters(_called(model)) if name in MODES]
    return _call(model, modes) if modes else ""


def _call(function: Any, names: list[str]) -> str:
    """Return the code of a function to return instead of the model, with these arguments in evaluation mode."""
    more = ", ".join(f"{name}={MODES.get(name, '...')}" for name in names)
    if _is_linen(function):
        return f"return (lambda variables, images: net.apply(variables, images, {more}), variables)"
    if len(_required(function)) > 1:  # params and images
        return f"return (lambda params, images: apply(params, images, {more}), params)"
    return f"return lambda images: net(images, {more})"


def _equinox(net: Any) -> str:
    """Return the code of a function to return instead of a module, with the further arguments of its call."""
    names = _parameters(type(net).__call__)
    more = "".join(f", {name}=None" for name in ("key", "rng") if name in names)
    call = "eqx.nn.inference_mode(net)"
    if "state" in names:
        call = f"lambda x: {call}(x, state{more})[0]"
    elif more:
        call = f"lambda x: {call}(x{more})"
    return (
        "an Equinox module takes one image [C, H, W]: return lambda images: "
        f"jax.vmap({call})(images.transpose(0, 3, 1, 2))"
    )


def _haiku(apply: str, names: list[str]) -> str:
    """Return the code of a pair to return instead of one whose apply takes these arguments."""
    given = [{"rng": "None"}.get(name, name) for name in names[1:] if name in ("state", "rng")]
    behind = [f"{name}={MODES[name]}" for name in names[1:] if name in MODES]
    first = "[0]" if "state" in given else ""  # of the logits and the next state
    whole = ", ".join(["params", *given, "images", *behind])
    return f"return (lambda params, images: {apply}({whole}){first}, params)"


def _is_linen(function: Any) -> bool:
    """Return whether a function is a Linen module, or the `apply` of one."""
    return is_made_by(getattr(function, "__self__", function), "flax.linen", "Module")


def _called(function: Any) -> Any:
    """Return the function that is called in the end: `__call__` for a Linen module or its `apply`."""
    return getattr(function, "__self__", function).__call__ if _is_linen(function) else function


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # of built-in functions
        return {}


def _required(function: Any) -> list[str]:
    """Return the names of the required arguments."""
    gathered = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = _parameters(_called(function)).items()
    return [name for name, each in given if each.default is each.empty and each.kind not in gathered]
