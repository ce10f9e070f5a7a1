"""MLServer, as it is installed from its package, attacked from the command line."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from advbench.data import load
from advbench.evaluation import Result
from advbench.evaluation.run import load_images
from advbench.models.load import load_model
from advbench.remote import probed

from .test_attack import in_one_line

pytestmark = pytest.mark.integration(needs="mlserver")

RUNTIME = """
from pathlib import Path

import numpy as np
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse

class Scores(MLModel):
    scale = 1

    async def load(self):
        self.weights = dict(np.load(Path(__file__).with_name("weights.npz")))
        return True

    async def predict(self, request):
        x = NumpyCodec.decode_input(request.inputs[0])
        if [-1, *x.shape[1:]] != self.inputs[0].shape:
            raise ValueError(f"{x.shape} are not the images that the metadata announce")
        scores = x.reshape(len(x), -1) / self.scale @ self.weights["w"] + self.weights["b"]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", self.said(scores))])

    def said(self, scores):
        return scores.astype(np.float32)

class Bytes(Scores):
    scale = 255

class Labels(Scores):
    def said(self, scores):
        return scores.argmax(1)

class Several(Scores):
    # Features and labels beside the scores.
    async def predict(self, request):
        answer = await super().predict(request)
        scores = NumpyCodec.decode_output(answer.outputs[0])
        more = {"features": scores[:, :3], "label": scores.argmax(1)}
        answer.outputs = [NumpyCodec.encode_output(name, each) for name, each in more.items()] + answer.outputs
        return answer

class Records(Scores):
    # A column for each class, as MLServer makes of a data frame.
    async def predict(self, request):
        answer = await super().predict(request)
        frame = pd.DataFrame(NumpyCodec.decode_output(answer.outputs[0]), columns=[str(k) for k in range(10)])
        return PandasCodec.encode_response(self.name, frame)

class Few(Scores):
    # No more than three images in a request.
    async def predict(self, request):
        if request.inputs[0].shape[0] > 3:
            raise InferenceError("a batch of more than 3 is not taken")
        return await super().predict(request)

class Bare(Scores):
    # Says nothing of its input.
    async def predict(self, request):
        x = NumpyCodec.decode_input(request.inputs[0])
        scores = x.reshape(len(x), -1) @ self.weights["w"] + self.weights["b"]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", self.said(scores))])

class Sigmoid(Bare):
    # Whether it is a 1 rather than a 0.
    def said(self, scores):
        return 1 / (1 + np.exp(scores[:, :1] - scores[:, 1:2])).astype(np.float32)
"""
IMAGE = ("FP32", [-1, 28, 28, 1])
MODELS = {
    "Scores": IMAGE,
    "Bytes": ("UINT8", [-1, 1, 28, 28]),
    "Labels": ("FP32", [-1, 784]),
    "Several": IMAGE,
    "Records": IMAGE,
    "Few": IMAGE,
    "Bare": None,
    "Sigmoid": None,
}


def weights():
    """The nearest mean of MNIST's classes, which `mine.py:net` computes too."""
    data = load("mnist")
    x = data.images[:1000].reshape(1000, -1) / 255
    means = np.stack([x[data.labels[:1000] == k].mean(0) for k in range(10)], 1).astype(np.float32)
    return means, -0.5 * (means**2).sum(0)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def serve(folder):
    """Start it on loopback; the process and its port for HTTP."""
    w, b = weights()
    np.savez(folder / "weights.npz", w=w, b=b)
    (folder / "digits.py").write_text(RUNTIME)
    ports = dict(zip(("http_port", "grpc_port", "metrics_port"), free_ports(3), strict=True))
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "use_structured_logging": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    for name, tensor in MODELS.items():
        (folder / name).mkdir()
        about = {"name": name.lower(), "implementation": f"digits.{name}"}
        if tensor:
            about["inputs"] = [{"name": "image", "datatype": tensor[0], "shape": tensor[1]}]
        (folder / name / "model-settings.json").write_text(json.dumps(about))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [shutil.which("mlserver"), "start", str(folder)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return process, ports["http_port"]


def ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its address, up to the name of a model."""
    folder = tmp_path_factory.mktemp("server")
    process, port = serve(folder)
    try:
        until = time.monotonic() + 120
        while not ready(port):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"MLServer did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v2/models"
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


ATTACK = ("--data", "mnist", "--eps", "0.3", "-n", "4")
BOUND = ("--query-limit", "400", "--out", "out")


def scores(x):
    w, b = weights()
    return x.reshape(len(x), -1).astype(np.float64) @ w + b


def attacked(run, address, spec):
    """Attack 4 images; the result and the images that fell, at least one, as the server's arithmetic has them."""
    got = run("attack", address, *ATTACK, *BOUND, "--attack", spec)
    assert got.exit_code == 0, got.output
    result, images = Result.load(Path("out")), load_images(Path("out"))
    data = load("mnist", "test")
    clean = scores(data.images[:4] / 255).argmax(1)
    assert [row.clean_prediction for row in result.rows] == clean.tolist()
    fell = {row.index: row for row in result.rows if row.broken_by == spec}
    assert list(images.index) == list(fell) != []
    for index, image in zip(images.index, images.x_adv, strict=True):
        assert scores(image[None]).argmax() == fell[index].prediction != data.labels[index]
        assert np.abs(image - data.images[index] / 255).max() <= 0.3 + 1e-6
    assert (result.model.queries.protocol, 0 < result.model.queries.asked <= 400) == ("v2", True)
    return result, images.x_adv


def test_scores_are_attacked_as_they_are_without_a_server(run, server):
    """The same images fall, by the same margin, when the model is called in this process."""
    result, _ = attacked(run, f"{server}/scores", "square:queries=10")
    assert result.model.queries.answers == "logits"
    words = (*ATTACK, "--attack", "square:queries=10", "--preflight", "none", "--out", "alone")
    assert run("attack", "mine.py:net", *words).exit_code == 0
    own = Result.load(Path("alone"))
    assert [row.broken_by for row in result.rows] == [row.broken_by for row in own.rows]
    np.testing.assert_allclose([row.margin for row in result.rows], [row.margin for row in own.rows], atol=1e-4)


@pytest.mark.parametrize("name", ["several", "records", "few", "bare"])
def test_scores_in_any_form_are_the_same_model(server, name):
    """The logits among several outputs, in columns, a few images at a time; the server does not describe its input."""
    images = load("mnist", "test").images[:12]
    model = probed(load_model(f"{server}/{name}"), images, 10)
    found = model.predict.target.ask(images.astype(np.float32) / 255)
    np.testing.assert_allclose(found, scores(images / 255), rtol=1e-4, atol=1e-3)


def test_one_probability_is_of_the_second_of_two_classes(server):
    images = load("mnist", "test").images[:8]
    model = probed(load_model(f"{server}/sigmoid"), images, 2)
    true = scores(images / 255)
    found = model.predict.target.ask(images.astype(np.float32) / 255)
    assert model.predict.target.found.kind == "probabilities"
    np.testing.assert_array_equal(found.argmax(1), true[:, :2].argmax(1))


def test_bytes_are_sent_as_bytes(run, server):
    result, x_adv = attacked(run, f"{server}/bytes", "square:queries=10")
    assert result.model.queries.levels == 255
    np.testing.assert_array_equal(x_adv, np.rint(x_adv * 255).astype(np.uint8) / np.float32(255))


def test_labels_are_enough_for_attacks_by_decisions(run, server):
    result, _ = attacked(run, f"{server}/labels", "rays:queries=60")
    assert result.model.queries.answers == "labels"


def test_a_model_that_it_does_not_have_is_one_line(run, server):
    in_one_line(run("attack", f"{server}/none", *ATTACK, *BOUND), 4, "404", "none")
