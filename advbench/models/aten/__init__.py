"""PyTorch modules translated to JAX, by the graph of core ATen operators that `torch.export` makes of them.

No code of the module runs in JAX, and none is guessed: `torch.export` refuses control flow that depends on pixels, and
an operator that is not in the table here, a random one among them, ends the translation with its name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from advbench.core.external import Untranslated
from advbench.models.aten.graph import Program, Ref, Step
from advbench.models.aten.operators import OPERATORS

NAMED: Final = 5  # operators that a refusal names


def translation(module: Any, shape: tuple[int, ...]) -> Any:
    """Translate a module, in the mode in which it is.

    Parameters
    ----------
    module : torch.nn.Module
    shape : tuple of int
        Of one image, as the module takes it.

    Returns
    -------
    jax.tree_util.Partial
        Images `[B, *shape]` float32, of any B, to the module's outputs, in its containers. Its leaves are the weights.

    Raises
    ------
    Untranslated
        When there is no such graph, or it asks for what is not supported.
    """
    exported, alone = _exported(module, shape)
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        raise Untranslated(f"it changes {', '.join(map(str, changed[:NAMED]))} when it is called")
    steps = [_step(node) for node in exported.graph.nodes if node.op == "call_function"]
    (ends,) = (node.args[0] for node in exported.graph.nodes if node.op == "output")
    results = tuple(_plain(end) for end in ends)
    needed = _needed(steps, results)
    if missing := sorted({step.target for step in needed if step.target not in OPERATORS}):
        raise Untranslated(f"unsupported {_several('operator', missing)}")
    weights, constants, images = _given(exported)
    form = _Form(exported.call_spec.out_spec)
    program = Program(tuple(needed), constants, images, results, form, alone)
    try:
        jax.eval_shape(program, weights, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    except Exception as error:  # whatever JAX may say of shapes and containers
        raise Untranslated(" ".join(str(error).split())[:240]) from error
    return jax.tree_util.Partial(program, weights)


def _exported(module: Any, shape: tuple[int, ...]) -> tuple[Any, bool]:
    """A program for any number of images, or for one: Python's `len(images)` fixes their number."""
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    device = tensors[0].device if tensors else None

    def export(images: int, dynamic: Any) -> Any:
        example = torch.zeros((images, *shape), device=device)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(module, (example,), dynamic_shapes=dynamic).run_decompositions()

    try:
        try:
            return export(2, ({0: torch.export.Dim("batch")},)), False
        except torch._dynamo.exc.UserError as error:
            if "specialized" not in str(error):
                raise
            return export(1, None), True
    except Exception as error:  # whatever an exporter may say of somebody's code
        said = " ".join(str(error).split()) or "no message"
        raise Untranslated(f"torch.export refuses it: {type(error).__name__}: {said[:240]}") from error


def _needed(steps: list[Step], results: tuple[Any, ...]) -> list[Step]:
    """The steps that the results depend on, in order: assertions and the like are left out."""
    wanted, kept = set(_names(results)), []
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(_names((step.args, step.kwargs)))
            kept.append(step)
    return kept[::-1]


def _names(value: Any) -> list[str]:
    leaves = jax.tree.leaves(value, is_leaf=lambda v: isinstance(v, Ref))
    return [leaf.name for leaf in leaves if isinstance(leaf, Ref)]


def _step(node: Any) -> Step:
    target = node.target
    name = target._schema.name if hasattr(target, "_schema") else f"python::{target.__name__}"
    overload = getattr(target, "_overloadname", "")
    return Step(node.name, _called(name, overload), _plain(node.args), _plain(node.kwargs))


def _called(name: str, overload: str) -> str:
    """`aten.add`; with the overload where it has a meaning of its own."""
    plain = name.replace("::", ".")
    return whole if (whole := f"{plain}.{overload}") in OPERATORS else plain


def _plain(value: Any) -> Any:
    """An argument without PyTorch: names of values, numbers, text, and names of types."""
    import torch

    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return value if isinstance(value, bool | int | float | str) else None


def _given(exported: Any) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """Weights, other arrays, and the name of the images."""
    weights, constants, images = {}, {}, ""
    for spec in exported.graph_signature.input_specs:
        name, kind = spec.arg.name, spec.kind.name
        if kind == "USER_INPUT":
            images = name
            continue
        if kind not in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            raise Untranslated(f"it holds a {kind.lower()}")
        tensor = exported.state_dict.get(spec.target)
        tensor = exported.constants[spec.target] if tensor is None else tensor
        array = tensor.detach().cpu().numpy()
        if tensor.is_floating_point():
            weights[name] = jax.device_put(array)
        else:
            constants[name] = array
    return weights, constants, images


class _Form:
    """Puts outputs into the module's containers."""

    def __init__(self, spec: Any):
        self.spec = spec

    def __call__(self, values: list[Any]) -> Any:
        from torch.utils._pytree import tree_unflatten

        return tree_unflatten(values, self.spec)


def _several(what: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what}{'s' * (len(names) > 1)} {', '.join(names[:NAMED])}{more}"
