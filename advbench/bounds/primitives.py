"""Properties of each primitive, by name, when some operands vary with the image and others are constants."""

STRUCTURAL = frozenset(
    {
        "add",
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "cumsum",
        "expand_dims",
        "pad",
        "reduce_sum",
        "reduce_window_sum",
        "reshape",
        "rev",
        "slice",
        "squeeze",
        "stack",
        "transpose",
    }
)
"""Affine, with coefficients of at least 0 in every operand: bounds pass through unchanged."""

INDEXED = frozenset({"dynamic_slice", "gather", "scatter", "select_n"})
"""The same in the operands that hold numbers, if all others (indices, conditions) are constants."""

BILINEAR = frozenset({"conv_general_dilated", "div", "dot_general", "mul"})
"""Linear in one operand if the other one is constant; of `div` the divisor must be."""

SIGNED = frozenset({"neg", "sub"})
"""Linear, with coefficients 1 and -1."""

SMOOTH = frozenset({"asinh", "atan", "erf", "exp", "exp2", "expm1", "logistic", "tanh"})
"""Increasing functions of one number, whose slope over an interval is smallest at one of its ends."""

UNCHANGED = frozenset({"convert_element_type", "copy", "name", "stop_gradient"})
"""Identities; a change of the type counts as one, since bounds have a type of their own."""

CALLS = frozenset(
    {
        "checkpoint",
        "closed_call",
        "core_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "jit",
        "pjit",
        "remat",
        "remat2",
    }
)
"""Primitives that only contain another program."""

AFFINE = STRUCTURAL | INDEXED | BILINEAR | SIGNED

LOWEST = -1e30
"""Stands for minus infinity around a pooling window: no bound may be multiplied by infinity."""


def numbers(name: str) -> slice:
    """Return the positions of an affine primitive's operands that may vary.

    Parameters
    ----------
    name : str
        Name of the primitive.

    Returns
    -------
    slice
        Positions.
    """
    return {"dynamic_slice": slice(0, 1), "gather": slice(0, 1), "scatter": slice(0, 3, 2)}.get(
        name, slice(1, None) if name == "select_n" else slice(None)
    )
