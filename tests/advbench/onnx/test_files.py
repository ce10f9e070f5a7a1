"""ONNX files as models: batches, layouts, gradients; and what is said of files that are none."""

import gzip
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from advbench.core.errors import UsageError
from advbench.core.outputs import expecting, logits_type
from advbench.core.preprocess import Preprocess
from advbench.models.load import load_model
from advbench.onnx import program
from advbench.onnx.external import ExternalData
from advbench.onnx.operators import OPERATORS

X = np.random.default_rng(1).random((5, 4, 4, 1)).astype(np.float32)


@jax.jit
def predicted(model, x):
    return model(x)


def refused(path, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_model(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def true_logits(path, x=X):
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.transpose(0, 3, 1, 2)})[0]


def test_a_file_is_a_model_of_images_in_our_layout(network):
    path = network()
    model = load_model(str(path))
    assert (model.name, model.shape, model.classes, model.dataset) == ("model", (4, 4, 1), 3, None)
    assert model.layouts == ("nchw", "ncwh")
    np.testing.assert_allclose(predicted(model.predict, X), true_logits(path), rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_runtime(network):
    """Along random directions, against central differences of ONNX Runtime's logits."""
    path = network()
    model, rng = load_model(str(path)), np.random.default_rng(2)
    jacobian = jax.jit(jax.jacrev(lambda x: model.predict(x)[0]))
    for _ in range(4):
        x, direction = rng.random((2, 1, 4, 4, 1)).astype(np.float32)
        h = np.float32(1e-3)
        differences = (true_logits(path, x + h * direction) - true_logits(path, x - h * direction)) / (2 * h)
        slopes = (jacobian(x) * direction).sum((1, 2, 3, 4))
        np.testing.assert_allclose(slopes, differences[0], rtol=0.01, atol=0.01)


def test_a_gzipped_file_is_the_same_model(network):
    path = network()
    packed = path.with_name("model.onnx.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    one, two = load_model(str(path)), load_model(str(packed))
    assert (one.name, one.digest) == (two.name, two.digest)
    np.testing.assert_array_equal(predicted(one.predict, X), predicted(two.predict, X))


def test_the_digest_follows_the_weights(network):
    before = load_model(str(network())).digest
    assert load_model(str(network())).digest == before

    def nudge(model):
        tensor = next(t for t in model.graph.initializer if t.name == "w")
        tensor.raw_data = tensor.raw_data[:-1] + b"\1"

    assert load_model(str(network(change=nudge))).digest != before


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_graph_of_a_fixed_batch_takes_any(network, batch):
    path, whole = network(shape=(batch, 1, 4, 4), name="fixed.onnx"), load_model(str(network()))
    np.testing.assert_allclose(
        predicted(load_model(str(path)).predict, X), predicted(whole.predict, X), rtol=1e-5, atol=1e-5
    )


def test_a_graph_that_can_do_one_image_only_takes_any_batch_though_it_says_otherwise(make):
    w = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    path = make(
        [("Reshape", ["x", "to"], ["f"], {}), ("MatMul", ["f", "w"], ["y"], {})], {"to": np.array([1, -1]), "w": w}
    )
    np.testing.assert_allclose(load_model(str(path)).predict(X), X.reshape(5, 16) @ w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "layouts"),
    [
        (("n", 3, 8, 8), ("nchw", "ncwh")),
        (("n", 8, 8, 3), ("nhwc", "nwhc")),
        (("n", None, None, 1), ("nhwc", "nwhc")),
        (("n", 8, 8), ("nhw", "nwh")),
        (("n", 192), ("flat-chw", "flat-hwc", "flat-cwh", "flat-whc")),
    ],
)
def test_the_input_says_which_layouts_it_may_have(make, shape, layouts):
    model = load_model(str(make([("Flatten", ["x"], ["y"], {})], shape=shape)))
    assert model.layouts == layouts
    assert model.shape == ((8, 8, 3) if 3 in shape else None)


def test_a_declared_layout_and_normalisation_come_first(make):
    path = make([("Flatten", ["x"], ["y"], {})], shape=("n", 4, 4))
    model = load_model(str(path), Preprocess("nwh", (0.5,), (0.25,)))
    assert model.layouts == ()
    true = ((X[..., 0] - 0.5) / 0.25).transpose(0, 2, 1).reshape(5, -1)
    np.testing.assert_allclose(model.predict(X), true, rtol=1e-5, atol=1e-6)


def test_half_precision_stays_what_it_is_until_logits_become_float32(make):
    path = make([("Mul", ["x", "w"], ["m"], {}), ("Flatten", ["m"], ["y"], {})], {"w": np.float16(3)}, dtype=np.float16)
    model = load_model(str(path))
    assert model.predict(X).dtype == np.float32
    np.testing.assert_array_equal(model.predict(X), 3 * X.astype(np.float16).reshape(5, 16))
    assert logits_type(model.predict, X.shape[1:])[1] == {"float16"}


def with_features(model):
    """The network's output `y [n, 3]`, after its hidden values `f [n, 16]`, of four axes `p`, and of whole numbers."""
    from onnx import TensorProto, helper

    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    declared = [("f", TensorProto.FLOAT, ["n", 16]), ("p", TensorProto.FLOAT, ["n", 4, 2, 2])]
    others = [helper.make_tensor_value_info(*each) for each in [*declared, ("label", TensorProto.INT64, ["n"])]]
    mine = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend([*others, *mine])


def test_of_several_outputs_the_one_as_wide_as_the_classes_is_taken_and_compared(network):
    plain, path = load_model(str(network())), network(change=with_features, name="several.onnx")
    model = load_model(str(path))
    assert model.classes is None
    told = expecting(model, 3)
    np.testing.assert_array_equal(predicted(told.predict, X), predicted(plain.predict, X))
    assert told.compare(told, X) is None


def test_an_output_is_asked_for_or_taken_by_its_name(network):
    model = load_model(str(network(change=with_features)))
    with pytest.raises(UsageError, match=r"several outputs \(f \[5, 16\], y \[5, 3\]\): name .* --logits"):
        expecting(model, 7).predict(X)
    assert expecting(model, 3, "f").predict(X).shape == (5, 16)


def half_inside(model):
    """Casts to float16 after the images, and back before the logits; weights are float16."""
    from onnx import TensorProto, helper, numpy_helper

    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    nodes = list(model.graph.node)
    nodes[0].input[0], nodes[-1].output[0] = "h", "z"
    first = helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    last = helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)
    del model.graph.node[:]
    model.graph.node.extend([first, *nodes, last])


def test_half_precision_inside_is_compared_by_its_own_steps(network, monkeypatch):
    path = str(network(change=half_inside))
    model = load_model(path)
    true = true_logits(Path(path))
    off = np.abs(predicted(model.predict, X) - true).max() / np.abs(true).max()
    assert model.compare(model, X) is None
    monkeypatch.setattr("advbench.onnx.check.COARSER", {})  # as if it were all float32
    assert (model.compare(model, X) is None) == (off <= 1e-5)
    monkeypatch.undo()
    monkeypatch.setitem(OPERATORS, "Relu", lambda node, x: x)
    wrong = load_model(path)
    assert wrong.compare(wrong, X).level == "invalid"


def test_parts_that_the_output_does_not_need_are_left_out(network):
    def add(model):
        model.graph.node.append(onnx.helper.make_node("NonMaxSuppression", ["r"], ["boxes"]))

    assert load_model(str(network(change=add))).classes == 3


def test_whole_images_and_one_logit_are_rows(make):
    """[N, K, 1, 1], and [N, 1] or [N] on data with two classes, as of any model."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((16, 3)).astype(np.float32)
    nodes = [("Flatten", ["x"], ["f"], {}), ("MatMul", ["f", "w"], ["r"], {})]
    x = rng.random((5, 4, 4, 1)).astype(np.float32)
    rows = x.reshape(5, 16) @ weights
    for sides, width in {(0, 3, 1, 1): 3, (0, 1, 1): 1, (-1,): 1}.items():
        path = make([*nodes, ("Reshape", ["r", "to"], ["y"], {})], {"w": weights[:, :width], "to": np.array(sides)})
        model = load_model(str(path), Preprocess("nchw"))
        assert model.classes == (3 if width == 3 else None)
        found = expecting(model, 3 if width == 3 else 2).predict(x)
        true = rows if width == 3 else np.stack([np.zeros(5), rows[:, 0]], 1)
        np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-6)


def test_an_input_without_a_shape_has_that_of_the_data(network):
    def forget(model):
        model.graph.input[0].type.tensor_type.ClearField("shape")

    path, plain = network(change=forget, name="open.onnx"), load_model(str(network()))
    model = load_model(str(path))
    assert (model.shape, model.classes, model.layouts) == (None, None, ("nchw", "nhwc", "ncwh", "nwhc"))
    told = load_model(str(path), Preprocess("nchw"))
    np.testing.assert_array_equal(predicted(told.predict, X), predicted(plain.predict, X))


def test_an_opset_before_7_is_converted(make, monkeypatch):
    """Opset 6 broadcasts where it is told to, from an axis on."""
    nodes = [("Add", ["x", "b"], ["a"], {"broadcast": 1, "axis": 1}), ("Flatten", ["a"], ["y"], {})]
    path = make(nodes, {"b": np.float32([3])}, opset=6, change=declared)
    np.testing.assert_array_equal(load_model(str(path)).predict(X), X.reshape(5, 16) + 3)

    def fail(*_):
        raise RuntimeError("no adapter")

    monkeypatch.setattr("onnx.version_converter.convert_version", fail)
    refused(path, r"has opset 6, which onnx can't convert to 7 \(no adapter\)")


def declared(model):
    """Weights as inputs too, as old files have them, and the shape of the output."""
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, tensor.dims))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["n", 16]))


def calling(*functions):
    """Functions of the model's own, each `(name, nodes)` from `a` to `b`."""

    def change(model):
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
        for name, nodes in functions:
            made = [onnx.helper.make_node(op, given, got, domain=domain) for op, given, got, domain in nodes]
            opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
            model.functions.append(onnx.helper.make_function("own", name, ["a"], ["b"], made, opsets))

    return change


def test_functions_of_the_model_are_put_in_place(make):
    square = ("Square", [("Mul", ["a", "a"], ["b"], "")])
    fourth = ("Fourth", [("Square", ["a"], ["c"], "own"), ("Square", ["c"], ["b"], "own")])
    path = make(
        [("Fourth", ["x"], ["f"], {"domain": "own"}), ("Flatten", ["f"], ["y"], {})], change=calling(square, fourth)
    )
    np.testing.assert_allclose(load_model(str(path)).predict(X), X.reshape(5, 16) ** 4, rtol=1e-6)


def test_functions_that_call_themselves_or_grow_without_end_are_refused(make):
    nodes = [("F0", ["x"], ["f"], {"domain": "own"}), ("Flatten", ["f"], ["y"], {})]
    refused(make(nodes, change=calling(("F0", [("F0", ["a"], ["b"], "own")]))), "'F0' calls itself")
    doubled = [(f"F{n}", [(f"F{n + 1}", ["a"], ["c"], "own"), (f"F{n + 1}", ["c"], ["b"], "own")]) for n in range(30)]
    refused(make(nodes, change=calling(*doubled, ("F30", [("Relu", ["a"], ["b"], "")]))), "nodes after its functions")


def test_branches_and_loops_known_beforehand_are_unrolled(make):
    """Three rounds of doubling, in a branch that the shape decides on, whose names are also those of the other."""
    info, node = onnx.helper.make_empty_tensor_value_info, onnx.helper.make_node
    loop = [node("Loop", ["three", "", "x"], ["d"], body=doubling()), node("Flatten", ["d"], ["f"])]
    chosen = onnx.helper.make_graph(loop, "then", [], [info("f")], [onnx.numpy_helper.from_array(np.int64(3), "three")])
    other = onnx.helper.make_graph([node("Gone", ["x"], ["f"])], "else", [], [info("f")])
    nodes = [
        ("Shape", ["x"], ["s"], {"start": 1, "end": 2}),
        ("Equal", ["s", "one"], ["c"], {}),
        ("If", ["c"], ["y"], {"then_branch": chosen, "else_branch": other}),
    ]
    np.testing.assert_array_equal(load_model(str(make(nodes, ARRAYS))).predict(X), 8 * X.reshape(5, 16))
    nodes[1:2] = [("Equal", ["s", "one"], ["no"], {}), ("Not", ["no"], ["c"], {})]
    refused(make(nodes, ARRAYS), r"'Gone computing f' \(Gone\): is an operator that is not supported")


def test_shapes_may_come_from_one_hot_rows_and_products(make):
    """PyTorch's older exporter writes `repeat_interleave` by a number of the shape as `Tile` by a one-hot row."""
    nodes = [
        ("Shape", ["x"], ["side"], {"start": 2, "end": 3}),
        ("Concat", ["one", "side"], ["values"], {"axis": 0}),
        ("OneHot", ["one", "two", "values"], ["row"], {}),
        ("Relu", ["row"], ["positive"], {}),
        ("MatMul", ["positive", "same"], ["rows"], {}),
        ("Squeeze", ["rows", "zero"], ["repeats"], {}),
        ("Flatten", ["x"], ["f"], {}),
        ("Tile", ["f", "repeats"], ["y"], {}),
    ]
    arrays = {"one": np.int64([1]), "two": np.int64(2), "zero": np.int64([0]), "same": np.eye(2, dtype=np.int64)}
    np.testing.assert_array_equal(load_model(str(make(nodes, arrays))).predict(X), np.tile(X.reshape(5, 16), (1, 4)))


def test_kernels_are_standardised_by_their_own_statistics_but_images_are_not(make):
    """PyTorch standardises the kernels of normaliser-free networks by a batch norm in training mode."""
    rng = np.random.default_rng(0)
    kernels, gain = rng.standard_normal((1, 3, 16)).astype(np.float32), np.float32([0.5, 1, 2])
    rest = {"zero": np.zeros(3, np.float32), "one": np.ones(3, np.float32), "rows": np.int64([3, 16])}
    settings = {"training_mode": 1, "epsilon": 1e-3}
    nodes = [
        ("BatchNormalization", ["k", "gain", "zero", "zero", "one"], ["s"], settings),
        ("Reshape", ["s", "rows"], ["w"], {}),
        ("Flatten", ["x"], ["f"], {}),
        ("Gemm", ["f", "w"], ["y"], {"transB": 1}),
    ]
    wide = kernels[0].astype(np.float64)
    spread = np.sqrt(wide.var(1, keepdims=True) + 1e-3)
    true = X.reshape(5, 16) @ ((wide - wide.mean(1, keepdims=True)) / spread * gain[:, None]).T
    arrays = rest | {"k": kernels, "gain": gain}
    np.testing.assert_allclose(load_model(str(make(nodes, arrays))).predict(X), true, rtol=1e-5, atol=1e-5)
    one = np.ones(1, np.float32)
    nodes = [("BatchNormalization", ["x", *["one"] * 4], ["n"], settings), ("Flatten", ["n"], ["y"], {})]
    refused(make(nodes, {"one": one}), "batch norm is in training mode")


def test_quantised_activations_are_compared_and_said(make):
    nodes = [
        ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
        ("DequantizeLinear", ["q", "s", "z"], ["d"], {}),
        ("Flatten", ["d"], ["f"], {}),
        ("DequantizeLinear", ["k", "s", "none"], ["w"], {}),
        ("MatMul", ["f", "w"], ["y"], {}),
    ]
    k = np.random.default_rng(0).integers(-128, 128, (16, 3), np.int8)
    arrays = {"s": np.float32(0.01), "z": np.uint8(30), "k": k, "none": np.int8(0)}
    model = load_model(str(make(nodes, arrays, change=lambda m: m.graph.output[0].CopyFrom(declared_rows))))
    steps = np.clip(np.round(X / np.float32(0.01)) + 30, 0, 255) - 30
    np.testing.assert_allclose(model.predict(X), steps.reshape(5, 16) @ k * 1e-4, rtol=1e-5, atol=1e-5)
    flag = model.compare(model, X)
    assert (flag.name, flag.level, flag.evidence) == ("straight_through", "note", {"compared": True})
    slopes = jax.jacrev(model.predict)(jnp.full((1, 4, 4, 1), 0.5))[0, :, 0]  # 50 + 30 steps
    np.testing.assert_allclose(slopes.reshape(3, 16).T, k * 0.01, rtol=1e-4)
    beyond = jax.jacrev(model.predict)(jnp.full((1, 4, 4, 1), 3.0))
    assert not beyond.any()  # 300 steps are cut off at 255


declared_rows = onnx.helper.make_tensor_value_info("y", 1, ["n", 3])


# What is no model.


def test_all_unsupported_operators_are_named_at_once_with_their_nodes(make):
    nodes = [
        ("Det", ["x"], ["a"], {"name": "grow"}),
        ("Hardmax", ["a"], ["b"], {}),
        ("Det", ["b"], ["c"], {"name": "grow\nagain"}),
        ("Fused", ["c"], ["y"], {"domain": "com.example", "name": "own"}),
    ]
    refused(
        make(nodes),
        r"not supported: Det \(grow, grow\?again\); Hardmax \(Hardmax computing b\); com.example::Fused \(own\)",
    )


def flattened():
    return onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["x"], ["f"])], "b", [], [onnx.helper.make_empty_tensor_value_info("f")]
    )


def doubling():
    """The body of a loop that doubles what it carries."""
    info, node = onnx.helper.make_empty_tensor_value_info, onnx.helper.make_node
    nodes = [node("Add", ["v", "v"], ["w"]), node("Identity", ["go"], ["on"])]
    return onnx.helper.make_graph(nodes, "b", [info("i"), info("go"), info("v")], [info("on"), info("w")])


GRAPHS = {
    "a cycle": ([("Add", ["x", "b"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Flatten", ["b"], ["y"], {})], "'b'"),
    "no weights": ([("Mul", ["x", "gone"], ["y"], {})], "needs 'gone', which no node before it computes"),
    "no output": ([("Relu", ["x"], ["z"], {})], "no node that computes its output 'y'"),
    "images out": ([("Relu", ["x"], ["y"], {})], r"should give logits \[N, K\].*\[2, 1, 4, 4\]"),
    "one number for all": ([("ReduceSum", ["x"], ["y"], {})], r"\[1, 1, 1, 1\]"),
    "an output that is not given": (
        [("MaxPool", ["x"], ["p", "i"], {"kernel_shape": [2, 2]}), ("Cast", ["i"], ["y"], {"to": 1})],
        r"needs 'i', which is an unsupported output of node 'MaxPool computing p, i' .MaxPool.",
    ),
    "wrong sides": ([("Flatten", ["x"], ["f"], {}), ("MatMul", ["f", "w"], ["y"], {})], "'MatMul computing y'"),
    "no attribute": ([("Concat", ["x", "x"], ["y"], {})], "Concat.* can't be run"),
    "no such type": ([("Cast", ["x"], ["y"], {"to": 999})], "no type 999"),
    "training": ([("Dropout", ["x", "ratio", "yes"], ["y"], {})], r"model.eval\(\)"),
    "a shape out of pixels": ([("Cast", ["x"], ["i"], {"to": 7}), ("Reshape", ["x", "i"], ["y"], {})], "the pixels"),
    "a huge constant": ([("ConstantOfShape", ["huge"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})], "a constant of"),
    "a huge view": ([("Expand", ["x", "huge"], ["y"], {})], "would make an array of shape"),
    "a huge product": ([("Mul", ["tall", "wide"], ["m"], {}), ("Add", ["x", "m"], ["y"], {})], "a constant of"),
    "a huge range": ([("Range", ["zero", "end", "step"], ["y"], {})], "a constant of"),
    "a huge pad": ([("Pad", ["x", "pads"], ["y"], {})], "would make an array of shape"),
    "a huge window": ([("MaxPool", ["x"], ["y"], {"kernel_shape": [9, 9], "pads": [9] * 4})], "as wide as windows"),
    "a branch out of pixels": (
        [
            ("ReduceMax", ["x"], ["m"], {"keepdims": 0}),
            ("Cast", ["m"], ["c"], {"to": 9}),
            ("If", ["c"], ["y"], {"then_branch": flattened(), "else_branch": flattened()}),
        ],
        "which branch is taken",
    ),
    "an endless loop": ([("Loop", ["", "yes", "x"], ["y"], {"body": doubling()})], "more than 20000 operations"),
    "a window beyond": ([("MaxPool", ["x"], ["y"], {"kernel_shape": [5, 5]})], "do not fit"),
    "no step": ([("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "strides": [0, 1]})], "in steps"),
    "division by zero": ([("Div", ["one", "zero"], ["d"], {}), ("Reshape", ["x", "d"], ["y"], {})], "by zero"),
    "an index beyond": ([("Gather", ["x", "end"], ["y"], {"axis": 1})], "out of 1"),
}
ARRAYS = {
    "one": np.array([1]),
    "zero": np.int64(0),
    "end": np.int64(2**62),
    "step": np.int64(1),
    "w": np.ones((5, 3), np.float32),
    "ratio": np.float32(0.5),
    "yes": np.array(True),
    "huge": np.array([2**20, 2**20, 2, 1, 1, 1]),
    "tall": np.ones((2**13, 1), np.int64),
    "wide": np.ones((1, 2**13), np.int64),
    "pads": np.array([0] * 7 + [2**40]),
}


@pytest.mark.parametrize(("nodes", "message"), GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_that_makes_no_sense_is_one_clear_line(make, nodes, message):
    refused(make(nodes, ARRAYS), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": np.uint8}, "takes uint8 input"),
        ({"shape": ("n", 1, 2, 4, 4)}, "input of 5 axes"),
        ({"opset": 99}, "has opset 99"),
        ({"change": lambda m: m.graph.input.append(m.graph.input[0])}, "should have one input"),
        ({"change": lambda m: m.graph.ClearField("node")}, "holds no graph"),
        ({"change": lambda m: m.graph.sparse_initializer.add()}, "sparse"),
        ({"change": lambda m: m.graph.initializer[0].dims.append(7)}, "damaged: k: "),
        ({"change": lambda m: m.graph.initializer[0].dims.append(-1)}, "damaged: k: "),
        ({"change": lambda m: setattr(m.graph.initializer[0], "data_type", 99)}, "damaged: k: "),
        ({"change": lambda m: setattr(m.graph.initializer[0], "data_type", 8)}, "k"),
    ],
)
def test_a_file_that_is_no_classifier_is_one_clear_line(network, changes, message):
    refused(network(**changes), message)


def test_a_file_cut_anywhere_is_refused(network):
    path = network()
    content = path.read_bytes()
    for end in {*range(0, len(content), 23), *range(len(content) - 16, len(content))}:
        path.write_bytes(content[:end])
        refused(path, "model.onnx")


def test_a_file_with_flipped_bits_is_refused_or_a_model(network):
    path, rng = network(), np.random.default_rng(0)
    content = bytearray(path.read_bytes())
    for _ in range(100):
        damaged = content.copy()
        for at in rng.integers(0, len(content), 3):
            damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            load_model(str(path))
        except UsageError as error:
            assert "\n" not in str(error)


def test_random_bytes_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    for size in (0, 1, 10, 1000):
        for name in ("random.onnx", "random.onnx.gz"):
            path = tmp_path / name
            path.write_bytes(rng.bytes(size))
            refused(path, "not an ONNX file|not a gzip file")


def test_a_gzip_bomb_and_a_cut_archive_are_refused(network, monkeypatch):
    path = network()
    packed = path.with_name("model.onnx.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-20])
    refused(packed, "cut short")
    monkeypatch.setattr(program, "LIMIT", 10_000)
    packed.write_bytes(gzip.compress(bytes(10_000_000)))
    refused(packed, "holds more than 10000 bytes")


def test_a_missing_file_and_a_missing_package_are_named(network, tmp_path, monkeypatch):
    refused(tmp_path / "none.onnx", "cannot read .*No such file")
    path = network()
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused(path, r"pip install 'advbench\[onnx\]'")


# Weights in files of their own.


def outside(location, **more):
    """Turn the last weights into a reference to a file."""

    def change(model):
        tensor = model.graph.initializer[-1]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def test_weights_beside_the_file_are_read_and_part_of_the_digest(network, tmp_path):
    plain = load_model(str(network()))
    weights = onnx.numpy_helper.to_array(onnx.load(str(tmp_path / "model.onnx")).graph.initializer[-1]).tobytes()
    (tmp_path / "model.data").write_bytes(b"12345678" + weights)
    path = network(change=outside("model.data", offset=8, length=len(weights)))
    model = load_model(str(path))
    np.testing.assert_array_equal(predicted(model.predict, X), predicted(plain.predict, X))
    (tmp_path / "model.data").write_bytes(b"12345678" + weights[::-1])
    assert load_model(str(path)).digest != model.digest


@pytest.mark.parametrize(
    "location",
    ["../weights", "a/../../weights", "/etc/passwd", "", r"..\weights", r"C:\weights", "C:weights", "link", "a\0b"],
)
def test_weights_outside_the_folder_are_refused(network, tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights").write_bytes(bytes(192))
    (folder / "link").symlink_to(tmp_path / "weights")
    refused(network(name="model/model.onnx", change=outside(location)), "outside its own folder, which is refused")


def test_a_reference_in_an_attribute_is_held_to_the_same(make):
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    refused(
        make([("Constant", [], ["c"], {"value": tensor}), ("Mul", ["x", "c"], ["y"], {})]), "outside its own folder"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "wants 192 bytes at 0 of .*which has 100"),
        ({"offset": -8}, "wants 192 bytes at -8"),
        ({"offset": 2**70}, "wants 192 bytes"),
        ({"length": 4}, "wants 192 bytes"),
        ({"offset": "x"}, "damaged"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(network, tmp_path, more, message):
    (tmp_path / "model.data").write_bytes(bytes(100))
    refused(network(change=outside("model.data", **more)), message)
    refused(network(change=outside("none.data", **more)), "is no file")
    assert ExternalData(tmp_path / "model.onnx").folder == tmp_path.resolve()


# The comparison with the original runtime.


def test_the_comparison_finds_a_wrong_operator(network, monkeypatch):
    model = load_model(str(network()))
    assert model.compare(model, X) is None
    monkeypatch.setitem(OPERATORS, "Relu", lambda node, x: jnp.maximum(x, -0.01))
    wrong = load_model(str(network()))
    flag = wrong.compare(wrong, X)
    assert (flag.name, flag.level) == ("translation", "invalid")
    assert flag.evidence["difference"] > 1e-5


def test_the_comparison_says_when_it_was_not_made(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    model = load_model(str(network()))
    flag = model.compare(model, X)
    assert (flag.level, "not installed" in flag.message) == ("note", True)
