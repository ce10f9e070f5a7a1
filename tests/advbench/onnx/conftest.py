"""Small ONNX files, made node by node."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

SHAPE = ("n", 1, 4, 4)


@pytest.fixture
def make(tmp_path):
    """Write `model.onnx` of nodes `(op, inputs, outputs, attributes)`, from `x` to `y`; return its path."""

    def write(nodes, arrays=None, *, shape=SHAPE, opset=18, dtype=np.float32, name="model.onnx", change=None):
        graph = helper.make_graph(
            [helper.make_node(op, given, got, **attributes) for op, given, got, attributes in nodes],
            "graph",
            [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)],
            [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in (arrays or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        if change:
            change(model)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def network(make):
    """A small convolutional network for images [N, 1, 4, 4] and three classes, as `make` takes it."""
    rng = np.random.default_rng(0)
    nodes = [
        ("Conv", ["x", "k", "b"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c"], ["r"], {}),
        ("MaxPool", ["r"], ["p"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", ["p"], ["f"], {}),
        ("Gemm", ["f", "w"], ["y"], {"transB": 1}),
    ]
    shapes = {"k": (4, 1, 3, 3), "b": (4,), "w": (3, 16)}
    arrays = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    return lambda **changes: make(nodes, arrays, **changes)
