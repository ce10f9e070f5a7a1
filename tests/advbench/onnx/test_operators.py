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
    "a size": [("Size", ["x"], ["s"], {}), ("CastLike", ["s", "x"], ["f"], {}), ("Div", ["x", "f"], ["y"], {})],
}
CONSTANTS = {
    "zero": np.int64(0),
    "two": np.int64(2),
    "five": np.int64(5),
    "eleven": np.int64(11),
    "first": whole(0),
    "one": whole(1),
    "three": whole(3),
    "six": whole(2, 4, 6, 3),
    "rest": whole(2, 2, -1),
    "parts": whole(1, 2, 1),
    "half": np.float32(0.5),
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
    tried = {case.values[0] for case in CASES} | {node[0] for nodes in SHAPES.values() for node in nodes}
    assert set(OPERATORS) - tried == {"Swish"}  # newer than ONNX Runtime's
