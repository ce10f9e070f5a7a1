"""Every operator, in the meanings that opsets gave it, against ONNX Runtime."""

import jax
import numpy as np
import onnxruntime
import pytest

from advbench.onnx.graph import build
from advbench.onnx.operators import OPERATORS
from advbench.onnx.program import parse

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 4, 6, 6)).astype(np.float32)
ROWS = RNG.standard_normal((2, 12)).astype(np.float32)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


def one(op, *inputs, opset=18, x=IMAGES, **attributes):
    """A case of one node: inputs after the images are constants, None an absent one."""
    return pytest.param(op, inputs, opset, x, attributes, id=f"{op}-{opset}-{'-'.join(map(str, attributes.values()))}")


LARGE = RNG.standard_normal((2, 4, 12, 12)).astype(np.float32)
COORDINATES = ("pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def resized(mode, height, width, **attributes):
    return one("Resize", None, np.float32([1, 1, height, width]), opset=19, mode=mode, **attributes)


GRID = RNG.uniform(-2.5, 2.5, (2, 5, 3, 2)).astype(np.float32)
SEQUENCE = normal(5, 2, 4)


def recurrent(gates, directions):
    """Weights of input and state, and biases, of 3 hidden units."""
    return [normal(directions, gates * 3, side) for side in (4, 3)] + [normal(directions, gates * 6)]


UNARY = """
    Abs Atan Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Mish Neg Reciprocal
    Relu Selu Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh ThresholdedRelu Celu GlobalAveragePool
    GlobalMaxPool LogSoftmax Softmax Dropout Round
"""
CASES = [
    *(one(op) for op in UNARY.split()),
    *(one(op, x=np.abs(IMAGES) + 0.1) for op in ("Log", "Sqrt")),
    *(one(op, normal(4, 1, 1)) for op in ("Add", "Sub", "Mul", "Div", "PRelu", "Max", "Min", "Sum")),
    *(one(op, normal(2, 4, 6, 6)) for op in ("Add", "Mul", "Max", "Min")),
    one("Sum", normal(4, 1, 1), normal(6)),
    one("Pow", np.float32(2)),
    one("Pow", np.float32(3)),
    one("Pow", np.float32(0.5), x=np.abs(IMAGES)),
    one("Pow", normal(6), x=np.abs(IMAGES)),
    one("Mod", np.float32(0.7), fmod=1),
    one("Clip", opset=6 + 1, min=-0.5, max=0.5),
    one("Clip", np.float32(-0.5), np.float32(0.5)),
    one("Clip", None, np.float32(0.5)),
    one("Gelu", opset=20),
    one("Gelu", opset=20, approximate="tanh"),
    one("Elu", alpha=0.3),
    one("HardSigmoid", alpha=0.3, beta=0.4),
    one("LeakyRelu", alpha=0.3),
    # Before opset 13, softmax is over all axes from `axis` on, which is 1 unless told; since then over the last one.
    one("Softmax", opset=11),
    one("Softmax", opset=11, axis=2),
    one("Softmax", opset=13, axis=1),
    one("LogSoftmax", opset=11),
    one("LogSoftmax", opset=13, axis=1),
    *(one(f"Reduce{how}", opset=11, axes=[2, 3], keepdims=0) for how in ("Mean", "Sum", "Max", "Min", "L1", "L2")),
    *(one(f"Reduce{how}", whole(-1), opset=18) for how in ("Mean", "Max", "Min", "Prod", "SumSquare", "LogSumExp")),
    one("ReduceSum", whole(1, 2), opset=13, keepdims=0),
    one("ReduceSum", opset=13, noop_with_empty_axes=1),
    one("ReduceMean", opset=18),
    one("Reshape", whole(0, -1)),
    one("Reshape", whole(2, 2, 2, -1)),
    one("Flatten", axis=2),
    one("Flatten", axis=-1),
    one("Transpose", perm=[0, 2, 3, 1]),
    one("Transpose"),
    one("Squeeze", opset=11, axes=[1], x=IMAGES[:, :1]),
    one("Squeeze", whole(-3), x=IMAGES[:, :1]),
    one("Unsqueeze", opset=11, axes=[1, 3]),
    one("Unsqueeze", whole(-1)),
    one("Concat", normal(2, 3, 6, 6), axis=1),
    one("Concat", normal(2, 4, 6, 2), axis=-1),
    one("Gather", np.array(-1), axis=1),
    one("Gather", whole(3, 0, -2), axis=1),
    one("Gather", np.array([[0, 1], [2, 3]]), axis=3),
    one("GatherElements", RNG.integers(-4, 4, (2, 2, 6, 6)), axis=1),
    one("Slice", opset=9, starts=[1, -3], ends=[3, 100], axes=[1, 2]),
    one("Slice", whole(4, -1), whole(0, -(2**63)), whole(1, 2), whole(-1, -2)),
    one("Slice", whole(0, 0), whole(2, 2), None, whole(1, 2)),
    one("Expand", whole(3, 1, 4, 6, 6)),
    one("Tile", whole(1, 2, 1, 3)),
    one("Pad", opset=9, pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5),
    one("Pad", whole(0, 0, 1, -2, 0, 0, 3, 1), np.float32(0.5)),
    one("Pad", whole(1, 2, 3, 0), None, whole(2, 3)),
    one("Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    one("Pad", whole(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    one("DepthToSpace", blocksize=2),
    one("DepthToSpace", blocksize=2, mode="CRD"),
    one("SpaceToDepth", blocksize=3),
    one("MatMul", normal(6, 3)),
    one("MatMul", normal(4, 6, 3)),
    one("Gemm", normal(12, 3), normal(3), x=ROWS),
    one("Gemm", normal(2, 3), normal(12, 1), x=ROWS, transA=1, alpha=0.5, beta=2.0),
    one("Gemm", normal(3, 12), x=ROWS, transB=1),
    one("Einsum", normal(6, 5), equation="bchw,wk->bkhc"),
    one("BatchNormalization", normal(4), normal(4), normal(4), np.abs(normal(4)), opset=7),
    one("BatchNormalization", normal(4), normal(4), normal(4), np.abs(normal(4)), opset=15, epsilon=0.1),
    one("LayerNormalization", normal(6), normal(6)),
    one("LayerNormalization", normal(4, 6, 6), axis=1, epsilon=0.1),
    one("InstanceNormalization", normal(4), normal(4)),
    one("GroupNormalization", normal(4), normal(4), opset=21, num_groups=2),
    one("LRN", size=3, alpha=0.1, beta=0.5, bias=1.5),
    one("LRN", size=5),
    one("LpNormalization", axis=1),
    one("LpNormalization", axis=1, p=1),
    one("Conv", normal(5, 4, 3, 3)),
    one("Conv", normal(5, 4, 3, 3), normal(5), pads=[1, 0, 2, 1], strides=[2, 2]),
    one("Conv", normal(5, 4, 2, 3), strides=[2, 1], dilations=[1, 2]),
    one("Conv", normal(8, 1, 3, 3), normal(8), group=4, pads=[1, 1, 1, 1]),
    one("Conv", normal(6, 2, 1, 1), group=2),
    one("Conv", normal(5, 4, 3, 3), auto_pad="SAME_UPPER", strides=[4, 4]),
    one("Conv", normal(5, 4, 2, 2), auto_pad="SAME_LOWER"),
    one("Conv", normal(5, 4, 2, 2), auto_pad="VALID"),
    one("Conv", normal(5, 4, 3), x=IMAGES[..., 0], pads=[1, 1]),
    one("ConvTranspose", normal(4, 5, 3, 3), normal(5)),
    one("ConvTranspose", normal(4, 3, 3, 2), group=2, strides=[2, 3], pads=[1, 0, 2, 1], output_padding=[1, 0]),
    one("ConvTranspose", normal(4, 5, 2, 2), dilations=[2, 1]),
    one("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    one("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one("MaxPool", kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1, x=IMAGES[:, :, :5, :5]),
    one("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    one("AveragePool", kernel_shape=[2, 2]),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, opset=19),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    *(one(op, x=LARGE, kernel_shape=[12, 12]) for op in ("MaxPool", "AveragePool")),
    one("MaxPool", x=LARGE, kernel_shape=[9, 10], strides=[2, 1], pads=[4, 3, 2, 5]),
    one("MaxPool", x=LARGE, kernel_shape=[9, 9], strides=[2, 2], ceil_mode=1),
    one("AveragePool", x=LARGE, kernel_shape=[9, 9], pads=[4, 3, 2, 5], count_include_pad=1),
    one("AveragePool", x=LARGE, kernel_shape=[9, 10], strides=[1, 2], pads=[4, 3, 2, 5]),
    *(one(op, x=IMAGES / 8) for op in ("Acos", "Asin", "Atanh", "Asinh")),
    one("Acosh", x=np.abs(IMAGES) + 1.1),
    one("Shrink", lambd=0.3, bias=0.1),
    one("Mean", normal(4, 1, 1), normal(6)),
    one("ReduceLogSum", whole(1), x=np.abs(IMAGES)),
    one("MeanVarianceNormalization", axes=[1, 2, 3]),
    one("RMSNormalization", normal(6), opset=23),
    one("RMSNormalization", normal(4, 6, 6), opset=23, axis=1, epsilon=0.1),
    one("Trilu", np.int64(1)),
    one("Trilu", upper=0),
    one("CumSum", np.int64(2)),
    one("CumSum", np.int64(-1), exclusive=1),
    one("CumSum", np.int64(1), exclusive=1, reverse=1),
    *(resized(mode, 2.0, 1.7) for mode in ("nearest", "linear", "cubic")),
    *(resized("nearest", 0.6, 0.8, nearest_mode=how) for how in ("floor", "ceil", "round_prefer_ceil")),
    *(resized("cubic", 0.6, 1.5, coordinate_transformation_mode=how) for how in COORDINATES),
    *(resized("linear", 0.6, 1.5, coordinate_transformation_mode=how) for how in COORDINATES),
    *(resized(mode, 0.6, 0.45, antialias=1) for mode in ("linear", "cubic")),
    resized("cubic", 1.5, 0.7, exclude_outside=1, cubic_coeff_a=-0.5),
    one("Resize", None, None, whole(2, 4, 9, 1), mode="linear"),
    one("Resize", None, None, whole(9, 4), mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
    one(
        "Resize",
        np.float32([0, 0, 0.2, -0.1, 1, 1, 0.9, 1.1]),
        None,
        whole(2, 4, 5, 7),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=2.5,
    ),
    one("Resize", np.float32([1, 1, 2, 3]), opset=10, mode="nearest"),
    one("Upsample", opset=7, mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
    one("Upsample", np.float32([1, 1, 2, 1.5]), opset=9, mode="linear"),
    one("Attention", normal(2, 2, 5, 6), normal(2, 2, 5, 3), opset=23),
    one("Attention", normal(2, 4, 5, 6), normal(2, 4, 5, 3), normal(6, 5), opset=23, scale=0.3),
    one("Attention", normal(2, 4, 6, 6), normal(2, 4, 6, 6), opset=23, is_causal=1),
    one("Attention", normal(2, 5, 2), normal(2, 5, 4), opset=23, x=IMAGES[:, 0], q_num_heads=3, kv_num_heads=1),
    one("RotaryEmbedding", normal(9, 3), normal(9, 3), np.tile(np.arange(6), (2, 1)), opset=23),
    one("ScatterND", whole([0, 1], [1, 3]), normal(2, 6, 6)),
    one("ScatterND", whole([0, 1], [0, 1], [-1, -1]), normal(3, 6, 6), reduction="add"),
    one(
        "ScatterElements",
        RNG.permuted(np.tile(np.arange(4)[:, None, None], (2, 1, 3, 6)), axis=1),
        normal(2, 4, 3, 6),
        axis=1,
    ),
    *(
        one("ScatterElements", RNG.integers(-4, 4, (2, 5, 6, 6)), normal(2, 5, 6, 6), axis=1, reduction=how)
        for how in ("add", "mul", "max", "min")
    ),
    one("Scatter", whole([[[3]]]), normal(1, 1, 1, 1), opset=9, axis=2),
    one("GatherND", whole([0, 1], [1, -1])),
    one("GatherND", whole([[0, 1], [3, 2]], [[2, -1], [0, 0]]), batch_dims=1),
    one("Compress", np.array([True, False, False, True]), axis=1),
    one("Compress", np.array([False, True, True])),
    one("ReverseSequence", whole(6, 2, 3, 1), x=IMAGES[0], batch_axis=0, time_axis=1),
    one("LpPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0]),
    one("LpPool", kernel_shape=[2, 2], p=3),
    one("GlobalLpPool", p=1),
    one("Col2Im", whole(4, 5), whole(1, 2), x=IMAGES.reshape(2, 6, 24)[:, :, :16]),
    one("Col2Im", whole(5, 6), whole(2, 2), x=normal(2, 8, 15), strides=[2, 1], dilations=[1, 2], pads=[0, 0, 1, 1]),
    *(
        one("GridSample", GRID, mode=mode, padding_mode=beyond, align_corners=corners)
        for mode in ("bilinear", "nearest")
        for beyond in ("zeros", "border", "reflection")
        for corners in (0, 1)
    ),
    *(one("GridSample", GRID / 3, opset=20, mode=mode) for mode in ("linear", "cubic")),
    one("AffineGrid", whole(2, 3, 4, 5), opset=20, x=normal(2, 2, 3)),
    one("AffineGrid", whole(2, 3, 4, 2), opset=20, x=normal(2, 2, 3), align_corners=1),
    one("RNN", *recurrent(1, 1), x=SEQUENCE, hidden_size=3),
    one("RNN", *recurrent(1, 1)[:2], x=SEQUENCE, hidden_size=3, activations=["Relu"], direction="reverse"),
    one("GRU", *recurrent(3, 2), x=SEQUENCE, hidden_size=3, direction="bidirectional", linear_before_reset=1),
    one("GRU", *recurrent(3, 1), None, normal(1, 2, 3), x=SEQUENCE, hidden_size=3),
    one("LSTM", *recurrent(4, 2), x=SEQUENCE, hidden_size=3, direction="bidirectional"),
    one(
        "LSTM",
        *recurrent(4, 1),
        whole(5, 5).astype(np.int32),
        normal(1, 2, 3),
        normal(1, 2, 3),
        x=SEQUENCE,
        hidden_size=3,
    ),
    one(
        "RotaryEmbedding",
        normal(9, 2),
        normal(9, 2),
        np.tile(np.arange(6), (2, 1)),
        opset=23,
        interleaved=1,
        rotary_embedding_dim=4,
    ),
]


@pytest.mark.parametrize(("op", "inputs", "opset", "x", "attributes"), CASES)
def test_an_operator_gives_what_onnx_runtime_does(make, op, inputs, opset, x, attributes):
    arrays = {f"i{at}": array for at, array in enumerate(inputs) if array is not None}
    names = ["x", *(f"i{at}" if array is not None else "" for at, array in enumerate(inputs))]
    agrees(make([(op, names, ["y"], attributes)], arrays, shape=(None, *x.shape[1:]), opset=opset), x)


SHAPES = {
    "a view of computed sides": [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {"axis": 0}),
        ("Unsqueeze", ["n", "first"], ["n1"], {}),
        ("Concat", ["n1", "rest"], ["to"], {"axis": 0}),
        ("Reshape", ["x", "to"], ["y"], {}),
    ],
    "half of the channels": [
        ("Shape", ["x"], ["s"], {"start": 1, "end": 2}),
        ("Div", ["s", "three"], ["h"], {}),
        ("Cast", ["h"], ["f"], {"to": 1}),
        ("Sqrt", ["f"], ["q"], {}),
        ("Floor", ["q"], ["g"], {}),
        ("Cast", ["g"], ["i"], {"to": 7}),
        ("Slice", ["x", "first", "i", "one"], ["y"], {}),
    ],
    "a mask": [
        ("ConstantOfShape", ["three"], ["c"], {}),
        ("Expand", ["c", "six"], ["e"], {}),
        ("Equal", ["e", "e"], ["m"], {}),
        ("Not", ["m"], ["no"], {}),
        ("Where", ["no", "zeros", "x"], ["y"], {}),
    ],
    "a range": [
        ("Range", ["zero", "eleven", "two"], ["r"], {}),
        ("Mod", ["r", "five"], ["r5"], {}),
        ("Gather", ["x", "r5"], ["y"], {"axis": 3}),
    ],
    "parts": [("Split", ["x", "parts"], ["p", "y", "q"], {"axis": 1})],
    "a comparison of pixels": [
        ("Greater", ["x", "zeros"], ["g"], {}),
        ("IsNaN", ["x"], ["nan"], {}),
        ("Or", ["g", "nan"], ["o"], {}),
        ("LessOrEqual", ["x", "zeros"], ["le"], {}),
        ("Xor", ["o", "le"], ["all"], {}),
        ("GreaterOrEqual", ["x", "half"], ["ge"], {}),
        ("Less", ["half", "x"], ["less"], {}),
        ("IsInf", ["x"], ["inf"], {}),
        ("Or", ["less", "inf"], ["big"], {}),
        ("And", ["big", "ge"], ["bigger"], {}),
        ("And", ["bigger", "all"], ["a"], {}),
        ("Cast", ["a"], ["f"], {"to": 1}),
        ("Mul", ["f", "x"], ["y"], {}),
    ],
    "the brightest": [("ArgMax", ["x"], ["a"], {"axis": 1}), ("Cast", ["a"], ["y"], {"to": 1})],
    "the darkest": [("ArgMin", ["x"], ["a"], {"axis": 2}), ("Cast", ["a"], ["y"], {"to": 1})],
    "the largest": [("TopK", ["x", "one+"], ["y", "i"], {"axis": -1})],
    "the least of ties, and where": [
        ("Round", ["x"], ["r"], {}),
        ("TopK", ["r", "one+"], ["v", "i"], {"axis": 1, "largest": 0}),
        ("Cast", ["i"], ["f"], {"to": 1}),
        ("Add", ["v", "f"], ["y"], {}),
    ],
    "places": [
        ("EyeLike", ["x6"], ["e"], {"k": 1, "dtype": 1}),
        ("NonZero", ["e"], ["n"], {}),
        ("Slice", ["n", "first", "one", "first"], ["n1"], {}),
        ("ScatterElements", ["zeros6", "rest0", "rest0f"], ["scattered"], {}),
        ("GatherND", ["scattered", "rest1"], ["g"], {}),
        ("Reshape", ["n1", "flat"], ["r"], {}),
        ("Gather", ["x", "r"], ["z"], {"axis": 3}),
        ("Add", ["z", "g"], ["y"], {}),
    ],
    "a size": [("Size", ["x"], ["s"], {}), ("CastLike", ["s", "x"], ["f"], {}), ("Div", ["x", "f"], ["y"], {})],
}
STEP = np.float32(0.05)
QUANTISED = {
    "weights alone, by channel and in blocks": (
        [
            ("DequantizeLinear", ["k", "ks", "kz"], ["w"], {"axis": 0}),
            ("Conv", ["x", "w"], ["c"], {}),
            ("DequantizeLinear", ["b", "bs"], ["v"], {"axis": 0, "block_size": 2}),
            ("MatMul", ["c", "v"], ["y"], {}),
        ],
        {
            "k": RNG.integers(-128, 128, (5, 4, 3, 3), np.int8),
            "ks": np.abs(normal(5)) / 99,
            "kz": np.arange(5, dtype=np.int8),
            "b": RNG.integers(-128, 128, (4, 9), np.int8),
            "bs": np.abs(normal(2, 9)) / 99,
        },
    ),
    "to int8 and uint16": (
        [
            ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
            ("DequantizeLinear", ["q", "s", "z"], ["d"], {}),
            ("QuantizeLinear", ["d", "s", "wide"], ["r"], {}),
            ("DequantizeLinear", ["r", "s", "wide"], ["y"], {}),
        ],
        {"s": STEP, "z": np.int8(3), "wide": np.uint16(999)},
    ),
    "convolved": (
        [
            ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
            ("QLinearConv", ["q", "s", "z", "k", "ks", "kz", "s2", "z2", "b"], ["r"], {"pads": [1, 1, 1, 1]}),
            ("DequantizeLinear", ["r", "s2", "z2"], ["y"], {}),
        ],
        {
            "s": STEP,
            "z": np.uint8(120),
            "k": RNG.integers(-99, 99, (5, 4, 3, 3), np.int8),
            "ks": np.abs(normal(5)) / 99,
            "kz": np.zeros(5, np.int8),
            "s2": np.float32(0.13),
            "z2": np.uint8(100),
            "b": RNG.integers(-99, 99, 5, np.int32),
        },
    ),
    "multiplied": (
        [
            ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
            ("QLinearMatMul", ["q", "s", "z", "k", "ks", "kz", "s2", "z2"], ["r"], {}),
            ("DequantizeLinear", ["r", "s2", "z2"], ["y"], {}),
        ],
        {
            "s": STEP,
            "z": np.uint8(120),
            "k": RNG.integers(0, 255, (6, 5), np.uint8),
            "ks": np.float32(0.013),
            "kz": np.uint8(99),
            "s2": np.float32(0.11),
            "z2": np.uint8(100),
        },
    ),
    "whole numbers": (
        [
            ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
            ("ConvInteger", ["q", "k", "z"], ["c"], {}),
            ("Cast", ["c"], ["f"], {"to": 1}),
            ("MatMulInteger", ["q", "m", "z"], ["p"], {}),
            ("Cast", ["p"], ["g"], {"to": 1}),
            ("ReduceSum", ["f"], ["h"], {}),
            ("Add", ["g", "h"], ["y"], {}),
        ],
        {
            "s": STEP,
            "z": np.uint8(120),
            "k": RNG.integers(0, 9, (5, 4, 3, 3), np.uint8),
            "m": RNG.integers(-9, 9, (6, 5), np.int8),
        },
    ),
    "by what the image holds": (
        [
            ("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}),
            ("DequantizeLinear", ["q", "s", "z"], ["y"], {}),
        ],
        {},
    ),
    "a class as a row": (
        [
            ("ArgMax", ["x"], ["a"], {"axis": 1, "keepdims": 0, "select_last_index": 1}),
            ("OneHot", ["a", "depth", "values"], ["y"], {"axis": 1}),
        ],
        {"depth": np.int64(4), "values": np.float32([0.5, 2])},
    ),
}


@pytest.mark.parametrize(("nodes", "arrays"), QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_graphs_give_what_onnx_runtime_does(make, nodes, arrays):
    x = IMAGES[:1] if not arrays else IMAGES  # scales of each image, not of all together
    agrees(make(nodes, arrays, shape=(None, *IMAGES.shape[1:]), opset=21), x)


def gradient_of(make, op, x, inputs=(), opset=18, **attributes):
    """The gradient of the output's sum of squares, for one image."""
    arrays = {f"i{at}": array for at, array in enumerate(inputs) if array is not None}
    names = ["x", *(f"i{at}" if array is not None else "" for at, array in enumerate(inputs))]
    path = make([(op, names, ["y"], attributes)], arrays, shape=(None, *x.shape[1:]), opset=opset)
    graph, weights = build(parse(path), path)
    return jax.jit(lambda x: (graph(weights, x) ** 2).sum()), graph


@pytest.mark.parametrize(
    ("op", "x", "inputs", "opset", "attributes"),
    [
        ("Resize", IMAGES[:1, :1], (None, np.float32([1, 1, 2, 2])), 13, {"mode": "nearest"}),
        ("Resize", IMAGES[:1, :1], (None, np.float32([1, 1, 1.7, 0.6])), 13, {"mode": "cubic"}),
        ("MaxPool", LARGE[:1, :1], (), 18, {"kernel_shape": [9, 9], "strides": [2, 2]}),
        ("AveragePool", LARGE[:1, :1], (), 18, {"kernel_shape": [9, 9], "pads": [2, 3, 1, 0]}),
        ("GlobalMaxPool", IMAGES[:1], (), 18, {}),
        ("TopK", IMAGES[:1, :1], (whole(2),), 18, {}),
        ("CumSum", IMAGES[:1, :1], (np.int64(2),), 18, {"exclusive": 1}),
        ("GridSample", IMAGES[:1], (GRID[:1],), 18, {"padding_mode": "reflection"}),
        ("LSTM", SEQUENCE[:, :1], tuple(recurrent(4, 1)), 18, {"hidden_size": 3}),
        ("GRU", SEQUENCE[:, :1], tuple(recurrent(3, 1)), 18, {"hidden_size": 3, "linear_before_reset": 1}),
        ("ScatterND", IMAGES[:1], (whole([0, 1]), normal(6, 6)), 18, {}),
        ("Col2Im", normal(1, 6, 16), (whole(4, 5), whole(1, 2)), 18, {}),
        ("Attention", IMAGES[:1, :1], (IMAGES[1:, :1], IMAGES[1:, 1:2], np.tri(6) > 0), 23, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_gradients_are_those_of_differences(make, op, x, inputs, opset, attributes):
    loss, _ = gradient_of(make, op, x, inputs, opset, **attributes)
    direction = np.random.default_rng(7).standard_normal(x.shape).astype(np.float32)
    input_gradient = float((jax.grad(loss)(x) * direction).sum())
    h = 1e-3
    assert input_gradient == pytest.approx(float(loss(x + h * direction) - loss(x - h * direction)) / (2 * h), rel=2e-2)


def test_of_tied_pixels_the_first_gets_the_gradient(make):
    """As in PyTorch, however large the window."""
    for op, attributes in {"GlobalMaxPool": {}, "MaxPool": {"kernel_shape": [12, 12]}}.items():
        input_gradient = jax.grad(gradient_of(make, op, LARGE, **attributes)[0])(np.ones((1, 1, 12, 12), np.float32))
        assert float(input_gradient[0, 0, 0, 0]) == 2 == float(abs(input_gradient).sum())
    path = make([("MaxPool", ["x"], ["y"], {"kernel_shape": [9, 9]})], shape=(None, 1, 12, 12))
    graph, weights = build(parse(path), path)
    input_gradient = jax.grad(lambda x: graph(weights, x)[0, 0, 0, 0])(np.ones((1, 1, 12, 12), np.float32))
    assert float(input_gradient[0, 0, 0, 0]) == 1 == float(abs(input_gradient).sum())


CONSTANTS = {
    "zero": np.int64(0),
    "two": np.int64(2),
    "five": np.int64(5),
    "eleven": np.int64(11),
    "first": whole(0),
    "one": whole(1),
    "one+": whole(2),
    "three": whole(3),
    "six": whole(2, 4, 6, 3),
    "rest": whole(2, 2, -1),
    "parts": whole(1, 2, 1),
    "half": np.float32(0.5),
    "x6": np.zeros((6, 6), np.float32),
    "zeros6": np.zeros(5, np.float32),
    "rest0": whole(2, 0),
    "rest0f": np.float32([0.5, 2]),
    "rest1": whole([[0], [1], [2], [3], [4]]),
    "flat": whole(-1),
    "zeros": np.zeros((4, 1, 1), np.float32),
}


@pytest.mark.parametrize("nodes", SHAPES.values(), ids=SHAPES.keys())
def test_shape_arithmetic_is_done_beforehand(make, nodes):
    x = IMAGES[..., :3] if any(node[0] == "Expand" for node in nodes) else IMAGES
    agrees(make(nodes, CONSTANTS, shape=(None, *x.shape[1:])), x)


def agrees(path, x):
    """The translation, compiled, gives ONNX Runtime's numbers and shape."""
    program = parse(path)
    graph, weights = build(program, path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (true,) = session.run(["y"], {"x": x})
    got = np.asarray(jax.jit(graph)(weights, x))
    assert got.shape == true.shape
    np.testing.assert_allclose(got, true, rtol=1e-5, atol=1e-5 * np.abs(true).max())


def test_every_operator_is_tried():
    graphs = [*SHAPES.values(), *(nodes for nodes, _ in QUANTISED.values())]
    tried = {case.values[0] for case in CASES} | {node[0] for nodes in graphs for node in nodes}
    assert set(OPERATORS) - tried == {"Swish"}  # newer than ONNX Runtime's
