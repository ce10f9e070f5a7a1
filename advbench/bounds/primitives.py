"""What is known of each primitive, by name, where some operands vary with the image and others are constants."""

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
        "transpose",
    }
)
"""Affine, with coefficients of at least 0 in every operand: bounds pass through as they are."""

INDEXED = frozenset({"dynamic_slice", "gather", "scatter", "select_n"})
"""Likewise in the operands that hold numbers, where all others (indices, conditions) are constants."""

BILINEAR = frozenset({"conv_general_dilated", "div", "dot_general", "mul"})
"""Linear in one operand where the other one is constant; of `div` the divisor must be."""

SIGNED = frozenset({"neg", "sub"})
"""Linear, with coefficients 1 and -1."""

SMOOTH = frozenset({"asinh", "atan", "erf", "exp", "exp2", "expm1", "logistic", "tanh"})
"""Increasing functions of one number, whose slope over an interval is least at one of its ends."""

UNCHANGED = frozenset({"convert_element_type", "copy", "name", "stop_gradient"})
"""Numbers as they are; a change of the type is none, since bounds have a type of their own."""

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
"""Primitives that only hold another program."""

AFFINE = STRUCTURAL | INDEXED | BILINEAR | SIGNED

LOWEST = -1e30
"""Stands for minus infinity around a pooling window: no bound may be multiplied by infinity."""


def numbers(name: str) -> slice:
    """Which operands of an affine primitive may vary."""
    return {"dynamic_slice": slice(0, 1), "gather": slice(0, 1), "scatter": slice(0, 3, 2)}.get(
        name, slice(1, None) if name == "select_n" else slice(None)
    )
