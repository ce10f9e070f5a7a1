"""Every protocol gives the same model, whatever its layout, pixels and answers."""

import json

import numpy as np
import pytest

from advbench.core.errors import AdvbenchError, TargetUnavailable, UsageError
from advbench.core.preprocess import AS_IS, Preprocess
from advbench.models.load import load_model
from advbench.preflight.queries import examine_answers
from advbench.remote import open_target, probed

from .conftest import CLASSES, WEIGHTS


def file(tmp_path, **settings):
    path = tmp_path / "mine.target.json"
    path.write_text(json.dumps(settings))
    return str(path)


def truth(images):
    return images.reshape(len(images), -1).astype(float) @ WEIGHTS - WEIGHTS.sum(0) / 2


def logits(spec, data, images, preprocess=AS_IS):
    model = probed(load_model(spec, preprocess), data.images, CLASSES)
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


def said(server, form):
    """Let the answer hold its scores in another form."""
    plain = server.answer

    def answer(path, document):
        if "inputs" not in document:
            return form(np.array(plain(path, document)["predictions"]))
        (scores,) = plain(path, document)["outputs"]
        return form(np.reshape(scores["data"], scores["shape"]))

    server.answer = answer


NAMES = ("zero", "one", "two", "three")
RECORDS = {
    "bare rows": lambda rows: rows.tolist(),
    "records of numbered columns": lambda rows: [
        {str(k): row[k] for k in reversed(range(CLASSES))} for row in rows.tolist()
    ],
    "records of named columns": lambda rows: [dict(zip(NAMES, row, strict=True)) for row in rows.tolist()],
    "records with a label beside": lambda rows: [
        {"label": "cat", **{str(k): score for k, score in enumerate(row)}} for row in rows.tolist()
    ],
    "columns": lambda rows: {str(k): rows[:, k].tolist() for k in range(CLASSES)},
    "outputs": lambda rows: {"features": rows[:, :2].tolist(), "scores": rows.tolist()},
    "whole images": lambda rows: rows[:, :, None, None].tolist(),
}


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("form", RECORDS.values(), ids=RECORDS)
def test_records_columns_and_bare_lists_are_scores(server, data, images, form, bare):
    said(server, lambda rows: form(rows) if bare and isinstance(form(rows), list) else {"predictions": form(rows)})
    found = logits(server.url("/invocations"), data, images)[1]
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)


def test_a_template_leads_to_records_too(server, data, images, tmp_path):
    server.answer = lambda path, document: {
        "results": [{str(k): score for k, score in enumerate(row)} for row in server.rows(document["x"]).tolist()]
    }
    spec = file(tmp_path, url=server.url("/score"), request={"x": "{{images}}"}, response="results")
    np.testing.assert_allclose(logits(spec, data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


def test_columns_of_v2_are_one_score_each(server, data, images):
    def columns(rows):
        kinds = [(str(k), "FP64", rows[:, k]) for k in range(CLASSES)] + [
            ("label", "BYTES", np.array(["x"] * len(rows)))
        ]
        return {
            "outputs": [
                {"name": name, "datatype": kind, "shape": [len(rows), 1], "data": column.tolist()}
                for name, kind, column in kinds
            ]
        }

    said(server, columns)
    np.testing.assert_allclose(logits(server.url(), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


UNCLEAR = {
    "a label and its score": (
        lambda rows: [{"label": int(row.argmax()), "score": row.max()} for row in rows],
        "one number each for label, score, .* name the one with the label as `output`",
    ),
    "text": (lambda rows: [{"label": "cat"} for _ in rows], "answers label: none of these holds finite numbers"),
}


@pytest.mark.parametrize(("form", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_a_name_is_asked_for_only_where_it_helps(server, data, images, form, message):
    said(server, form)
    with pytest.raises(AdvbenchError, match=message):
        logits(server.url("/invocations"), data, images)


def test_a_label_named_in_a_target_file_is_taken(server, data, images, tmp_path):
    said(server, UNCLEAR["a label and its score"][0])
    spec = file(tmp_path, url=server.url("/invocations"), output="label")
    model, found = logits(spec, data, images)
    assert model.access == "decision"
    np.testing.assert_array_equal(found.argmax(1), data.labels)


def test_an_output_that_is_not_there_is_told_with_those_that_are(server, data, images, tmp_path):
    with_features(server, ["one", "two"], [CLASSES, CLASSES])
    for path in ("/v2/models/linear", "/invocations"):
        with pytest.raises(TargetUnavailable, match=r"without output 'three' .there are: one, two"):
            logits(file(tmp_path, url=server.url(path), output="three"), data, images)


def test_an_answer_of_another_kind_says_what_is_there(server, data, images):
    said(server, lambda rows: {"result": rows.tolist()})
    with pytest.raises(TargetUnavailable, match=r"without predictions .there are: 'result'.*`request` and `response`"):
        logits(server.url("/invocations"), data, images)


@pytest.mark.parametrize("gives", ["logits", "probabilities"])
@pytest.mark.parametrize("path", ["/v2/models/linear", "/invocations"])
def test_one_score_is_that_of_the_second_of_two_classes(server, data, images, path, gives):
    z = truth(images)[:, 0] / 8
    said(server, lambda rows: form(rows[:, :1] / 8))

    def form(z):
        rows = 1 / (1 + np.exp(-z)) if gives == "probabilities" else z
        if path == "/invocations":
            return {"predictions": rows.tolist()}
        return {"outputs": [{"name": "y", "datatype": "FP32", "shape": [*rows.shape], "data": rows.ravel().tolist()}]}

    model = probed(load_model(server.url(path)), data.images, 2)
    found = model.predict.target.ask(images)
    np.testing.assert_allclose(found, np.stack([0 * z, z], 1), rtol=1e-4, atol=1e-4)
    assert (model.access, model.predict.target.found.kind) == ("score", gives)
    flags = {flag.name for flag in examine_answers(model, found, data.labels % 2, 0.0, 2)}
    assert "single_logit" in flags


@pytest.mark.parametrize("path", ["/v2/models/linear", "/v1/models/linear:predict"])
@pytest.mark.parametrize(
    ("status", "says"), [(400, "batch-size must be <= 3"), (413, "no"), (500, "Invalid batch size")]
)
def test_a_server_of_smaller_batches_is_asked_in_smaller_ones(server, data, images, path, status, says):
    refused = []

    def fault(handler, count):
        document = server.seen[-1][2]
        if document is None:
            return False
        n = len(document["instances"]) if "instances" in document else document["inputs"][0]["shape"][0]
        if n > 3:
            refused.append(n)
            handler.say({"error": says}, status)
            return True
        return False

    server.fault = fault
    np.testing.assert_allclose(logits(server.url(path), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)
    assert len(refused) == 2  # 8 images, then 4 at once: what was learned is kept


def test_a_refusal_of_a_lone_image_is_final(server, data):
    server.fault = lambda handler, count: count > 2 and (handler.say({"error": "batch"}, 400) or True)
    with pytest.raises(TargetUnavailable, match=r"400.*batch"):
        probed(load_model(server.url()), data.images, CLASSES)
    assert [document["inputs"][0]["shape"][0] for _, _, document in server.seen if document] == [8, 4, 2, 1]


@pytest.mark.parametrize("where", ["metadata", "parameters", "configuration"])
def test_the_largest_batch_that_a_server_tells_is_kept_to(server, data, images, where):
    most = {"max_batch_size": 5}
    server.metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 25]}]} | (
        {"metadata": most, "parameters": {"parameters": most}}.get(where, {})
    )
    server.config = most if where == "configuration" else None
    np.testing.assert_allclose(logits(server.url(), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)
    assert max(document["inputs"][0]["shape"][0] for _, _, document in server.seen if document) == 5


@pytest.mark.parametrize("config", [b"<html>", [], {"max_batch_size": 0}, {"max_batch_size": "many"}, {}])
def test_a_configuration_that_tells_no_batch_is_none(server, data, images, config):
    """0 is Triton's word for a model whose images come without an axis for them."""
    server.config = config
    model, found = logits(server.url(), data, images)
    np.testing.assert_allclose(found, truth(images), rtol=1e-5, atol=1e-5)
    assert model.predict.target.dialect(images.shape[1:]).batch == 32


@pytest.mark.parametrize("status", [404, 405, 501])
def test_v2_without_metadata(server, data, images, status):
    server.about = lambda path: ({"error": "no metadata"}, status)
    np.testing.assert_allclose(logits(server.url(), data, images)[1], truth(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "is the model's name right"),
        (422, "does not describe its input, which was sent as 'input-0': set `input`"),
    ],
)
def test_v2_without_metadata_that_refuses_says_what_may_be_wrong(server, data, status, message):
    server.about = lambda path: ({}, 404)
    server.fault = lambda handler, count: count > 1 and (handler.say({"error": "unexpected"}, status) or True)
    with pytest.raises(TargetUnavailable, match=message):
        probed(load_model(server.url()), data.images, CLASSES)


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
        probed(open_target(server.url()), data.images, CLASSES)
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
        probed(open_target(server.url()), data.images, CLASSES)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("about", [[], "text", {"inputs": 3}, {"inputs": [{"shape": "wide"}]}, {"inputs": [{}, {}]}])
def test_malformed_metadata_are_one_line(server, data, about):
    server.metadata = about
    try:
        probed(open_target(server.url()), data.images, CLASSES)
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
        probed(open_target(file(tmp_path, **settings)), data.images, CLASSES)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 99_999, b"3"])
def test_a_target_file_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "t.target.json").write_bytes(content)
    with pytest.raises(UsageError):
        open_target(str(tmp_path / "t.target.json"))
