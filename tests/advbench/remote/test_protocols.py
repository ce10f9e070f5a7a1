"""Every protocol gives the same model, whatever its layout, pixels and answers."""

import json

import numpy as np
import pytest

from advbench.core.errors import AdvbenchError, TargetUnavailable, UsageError
from advbench.core.preprocess import AS_IS, Preprocess
from advbench.models.load import load_model
from advbench.preflight.queries import examine_answers
from advbench.remote import open_target, tried

from .conftest import CLASSES, WEIGHTS


def file(tmp_path, **settings):
    path = tmp_path / "mine.target.json"
    path.write_text(json.dumps(settings))
    return str(path)


def truth(images):
    return images.reshape(len(images), -1).astype(float) @ WEIGHTS - WEIGHTS.sum(0) / 2


def logits(spec, data, images, preprocess=AS_IS):
    model = tried(load_model(spec, preprocess), data.images, CLASSES)
    return model, model.predict.target.ask(images)


@pytest.mark.parametrize("shape", [[-1, 5, 5, 1], [-1, 1, 5, 5], [-1, 25], [-1, -1, -1, 1], [16, 5, 5], []])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_v2_in_any_layout(server, data, images, shape, datatype):
    server.shape, server.datatype = shape, datatype
    model, found = logits(server.url(), data, images)
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)
    assert (model.access, model.levels, model.name) == ("score", None, "linear")
    assert model.source == server.url()


@pytest.mark.parametrize("path", ["/v2/models/linear/infer", "/v2/models/linear/versions/1", "/v2/models/linear/"])
def test_v2_by_other_addresses(server, data, images, path):
    np.testing.assert_allclose(logits(server.url(path), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


def test_uint8_pixels_arrive_as_whole_numbers(server, data, images):
    server.datatype, server.shape = "UINT8", [-1, 5, 5, 1]
    model, found = logits(server.url(), data, images + 0.4 / 255)
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)
    assert model.levels == 255
    sent = server.seen[-1][2]["inputs"][0]["data"]
    assert all(type(value) is int and 0 <= value <= 255 for value in sent)


@pytest.mark.parametrize("path", ["/v1/models/linear:predict", "/invocations"])
def test_instances_and_predictions(server, data, images, path):
    np.testing.assert_allclose(logits(server.url(path), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


def test_the_signature_of_tensorflow_serving_is_read(server, data, images):
    dims = [{"size": "-1"}, {"size": "25"}]
    tensor = {"dtype": "DT_UINT8", "tensor_shape": {"dim": dims}}
    server.metadata = {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {"x": tensor}}}}}}
    model, _ = logits(server.url("/v1/models/linear:predict"), data, images)
    assert model.levels == 255
    assert np.shape(server.seen[-1][2]["instances"])[1:] == (25,)


def test_a_template(server, data, images, tmp_path):
    spec = file(
        tmp_path,
        url=server.url("/score"),
        request={"pixels": "{{images}}", "options": {"top": 4}},
        response="results.*.scores",
    )
    model, found = logits(spec, data, images)
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)
    assert server.seen[-1][2]["options"] == {"top": 4}
    assert model.name == "mine"


def test_a_template_with_png(server, data, images, tmp_path):
    spec = file(tmp_path, url=server.url("/score"), request={"png": "{{png}}"}, response="scores")
    model, found = logits(spec, data, images)
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)
    assert model.levels == 255


def test_normalised_pixels(server, data, images):
    server.bias = 0.0
    declared = Preprocess.parse("flat-hwc", "0.5", "2")
    found = logits(server.url(), data, images, declared)[1]
    np.testing.assert_allclose(found, (images.reshape(len(images), -1) - 0.5) / 2 @ WEIGHTS, rtol=1e-4, atol=1e-4)
    assert load_model(server.url(), declared).digest != load_model(server.url()).digest


def test_pixels_up_to_255(server, data, images, tmp_path):
    server.weights = WEIGHTS / 255
    spec = file(tmp_path, url=server.url(), pixels="0..255")
    np.testing.assert_allclose(logits(spec, data, images)[1], truth(images), rtol=1e-4, atol=1e-4)


def test_probabilities_become_log_probabilities(server, data, images):
    server.gives = "probabilities"
    model, found = logits(server.url(), data, images)
    expected = truth(images) - truth(images).max(1, keepdims=True)
    expected -= np.log(np.exp(expected).sum(1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert model.access == "score"


@pytest.mark.parametrize("path", ["/v2/models/linear", "/invocations"])
def test_labels_leave_decisions_only(server, data, images, path):
    server.gives = "labels"
    model, found = logits(server.url(path), data, images)
    assert model.access == "decision"
    assert found.shape == (len(images), CLASSES)
    np.testing.assert_array_equal(found.argmax(1), data.labels)


def with_features(server, names, widths):
    """Answers of as many columns as these, of which those of the classes are the logits and all others noise."""
    plain = server.answer

    def several(path, document):
        if "inputs" in document:
            (scores,) = plain(path, document)["outputs"]
            rows = np.reshape(scores["data"], scores["shape"])
        else:
            rows = np.array(plain(path, document)["predictions"])
        columns = {
            n: rows if w == CLASSES else np.full((len(rows), w), 9.0) for n, w in zip(names, widths, strict=True)
        }
        if "instances" in document:
            return {"predictions": [{n: c[at].tolist() for n, c in columns.items()} for at in range(len(rows))]}
        return {
            "outputs": [
                {"name": n, "datatype": "FP32", "shape": list(c.shape), "data": c.ravel().tolist()}
                for n, c in columns.items()
            ]
        }

    server.answer = several


PATHS = pytest.mark.parametrize("path", ["/v2/models/linear", "/v1/models/linear:predict"])


@PATHS
def test_of_several_outputs_the_one_as_wide_as_the_classes_is_taken(server, data, images, path):
    with_features(server, ["features", "scores", "more"], [25, CLASSES, 25])
    np.testing.assert_allclose(logits(server.url(path), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


@PATHS
def test_of_outputs_that_are_as_wide_the_one_called_logits_is_taken(server, data, images, path):
    with_features(server, ["first", "logits"], [CLASSES, CLASSES])
    np.testing.assert_allclose(logits(server.url(path), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


@PATHS
@pytest.mark.parametrize("widths", [[25, 26], [CLASSES, CLASSES]])
def test_which_output_is_asked_for_where_several_could_be_meant(server, data, images, path, widths):
    with_features(server, ["one", "two"], widths)
    with pytest.raises(UsageError, match=r"several outputs \(one .*, two .*\): name one as `output` in a target file"):
        logits(server.url(path), data, images)


@PATHS
def test_an_output_named_in_a_target_file_is_taken(server, data, images, path, tmp_path):
    with_features(server, ["one", "two"], [CLASSES, CLASSES])
    found = logits(file(tmp_path, url=server.url(path), output="two"), data, images)[1]
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)


def test_more_scores_than_classes_are_invalid_unless_they_are_meant(server, data, images):
    server.weights, server.bias = np.eye(25), 0.0
    model, found = logits(server.url(), data, images)
    flags = {flag.name: flag for flag in examine_answers(model, found, data.labels, 0.0, CLASSES)}
    assert flags["extra_outputs"].evidence == {"outputs": 25, "classes": CLASSES}
    assert flags["extra_outputs"].level == "invalid"
    assert flags["near_chance"].evidence["chance"] == 1 / CLASSES
    allowed = examine_answers(model, found, data.labels, 0.0, CLASSES, allow_extra_outputs=True)
    assert {flag.level for flag in allowed} == {"note"}


def test_the_output_with_scores_is_taken_before_the_one_with_labels(server, data, images):
    plain = server.answer

    def both(path, document):
        (scores,) = plain(path, document)["outputs"]
        n = scores["shape"][0]
        labels = {"name": "label", "datatype": "INT64", "shape": [n], "data": [0] * n}
        return {"outputs": [labels, scores]}

    server.answer = both
    np.testing.assert_allclose(logits(server.url(), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "datatype", "says"),
    [([-1, 28, 28, 1], "FP32", "28, 28"), ([-1, 25], "BYTES", "BYTES"), ([-1], "FP32", "[]")],
)
def test_other_images_are_refused(server, data, shape, datatype, says):
    server.shape, server.datatype = shape, datatype
    with pytest.raises(UsageError) as error:
        tried(open_target(server.url()), data.images, CLASSES)
    assert says in str(error.value)


MALFORMED = {
    "not JSON": b"<html>",
    "half": b'{"outputs": [{"name": "y", "da',
    "not an object": b"[1, 2]",
    "no outputs": b"{}",
    "no tensor": b'{"outputs": [3]}',
    "NaN": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [NaN, 1, 2, 3]}]}',
    "infinite": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [1e999, 1, 2, 3]}]}',
    "null": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [null, 1, 2, 3]}]}',
    "text": b'{"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "data": ["cat"]}]}',
    "shape lies": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [1, 2]}]}',
    "huge shape": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [99999999999, 99999999999], "data": []}]}',
    "ragged": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [[1], [2, 3]]}]}',
    "too deep": b"[" * 100_000,
    "a long number": b'{"outputs": ' + b"9" * 9999 + b"}",
    "no UTF-8": b'{"outputs": "\xff"}',
    "other rows": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [3, 2], "data": [1,2,3,4,5,6]}]}',
    "a score": b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [8, 1], "data": [0.5,1,0,0,0,0,0,0]}]}',
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_answer_is_one_line_and_not_a_model(server, data, content):
    server.fault = lambda handler, count: count > 1 and (handler.say(content), True)[1]
    with pytest.raises(TargetUnavailable) as error:
        tried(open_target(server.url()), data.images, CLASSES)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("about", [[], "text", {"inputs": 3}, {"inputs": [{"shape": "wide"}]}, {"inputs": [{}, {}]}])
def test_malformed_metadata_are_one_line(server, data, about):
    server.metadata = about
    try:
        tried(open_target(server.url()), data.images, CLASSES)
    except AdvbenchError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "http://h/x", "timout": 3}, "timeout"),
        ({"url": "http://h/x", "timeout": 0}, "timeout"),
        ({}, "url"),
        ({"url": "http://h/x"}, "can't tell"),
        ({"url": "http://127.0.0.1:1/x", "request": {"a": 1}, "response": "b"}, "{{images}}"),
    ],
)
def test_a_wrong_target_file_is_refused(tmp_path, data, settings, says):
    with pytest.raises(UsageError, match=says.replace("{", r"\{")):
        tried(open_target(file(tmp_path, **settings)), data.images, CLASSES)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 99_999, b"3"])
def test_a_target_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "t.target.json").write_bytes(content)
    with pytest.raises(UsageError):
        open_target(str(tmp_path / "t.target.json"))
