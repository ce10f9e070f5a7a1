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

from .test_attack import in_one_line

pytestmark = pytest.mark.integration(needs="mlserver")

RUNTIME = """
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Scores(MLModel):
    scale = 1

    async def load(self):
        self.weights = dict(np.load(Path(__file__).with_name("weights.npz")))
        return True

    async def predict(self, request):
        x = NumpyCodec.decode_input(request.inputs[0])
        scores = x.reshape(len(x), -1) / self.scale @ self.weights["w"] + self.weights["b"]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", self.said(scores))])

    def said(self, scores):
        return scores.astype(np.float32)

class Bytes(Scores):
    scale = 255

class Labels(Scores):
    def said(self, scores):
        return scores.argmax(1)
"""
MODELS = {"Scores": ("FP32", [-1, 28, 28, 1]), "Bytes": ("UINT8", [-1, 1, 28, 28]), "Labels": ("FP32", [-1, 784])}


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
    for name, (kind, shape) in MODELS.items():
        (folder / name).mkdir()
        tensor = {"name": "image", "datatype": kind, "shape": shape}
        about = {"name": name.lower(), "implementation": f"digits.{name}", "inputs": [tensor]}
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


ATTACK = ("--data", "mnist", "--eps", "0.15", "-n", "4", "--query-budget", "400", "--out", "out")


def scores(x):
    w, b = weights()
    return x.reshape(len(x), -1).astype(np.float64) @ w + b


def check(result, x_adv, first):
    """The server's verdicts are those of the arithmetic that it does."""
    data = load("mnist", "test")
    assert result.model.queries.protocol == "v2" and 0 < result.model.queries.asked <= 400
    clean = scores(data.images[:4] / 255).argmax(1)
    assert [row.clean_prediction for row in result.rows] == clean.tolist()
    for row, image, label in zip(result.rows, x_adv, data.labels[:4], strict=True):
        if row.broken_by not in (None, "clean"):
            assert scores(image[None]).argmax() == row.prediction != label
    assert first == result.attacks[0].name


def test_scores_are_attacked_as_they_are_without_a_server(run, server):
    """Within 0.15, in 10 queries, images fall; which ones, and by how much, is the same in this process."""
    got = run("attack", f"{server}/scores", *ATTACK, "--attack", "square:queries=10")
    assert got.exit_code == 0, got.output
    result = Result.load(Path("out"))
    check(result, load_images(Path("out")).x_adv, "square")
    assert result.model.queries.answers == "logits"
    alone = [*(word for word in ATTACK[:-4]), "--attack", "square:queries=10", "--checks", "none", "--out", "alone"]
    assert run("attack", "mine.py:net", *alone).exit_code == 0
    own = Result.load(Path("alone"))
    assert [row.robust for row in result.rows] == [row.robust for row in own.rows]
    assert any(row.robust for row in own.rows) and not all(row.robust for row in own.rows)
    np.testing.assert_allclose([row.margin for row in result.rows], [row.margin for row in own.rows], atol=1e-4)


def test_bytes_are_sent_as_bytes(run, server):
    got = run("attack", f"{server}/bytes", *ATTACK, "--attack", "square:queries=10")
    assert got.exit_code == 0, got.output
    result, x_adv = Result.load(Path("out")), load_images(Path("out")).x_adv
    check(result, x_adv, "square")
    assert (result.model.queries.levels, result.model.preprocess["layout"]) == (255, "nchw")
    np.testing.assert_array_equal(x_adv, np.rint(x_adv * 255).astype(np.uint8) / np.float32(255))


def test_labels_are_enough_for_attacks_by_decisions(run, server):
    got = run("attack", f"{server}/labels", *ATTACK, "--attack", "rays:queries=20")
    assert got.exit_code == 0, got.output
    result = Result.load(Path("out"))
    check(result, load_images(Path("out")).x_adv, "rays")
    assert (result.model.queries.answers, result.model.preprocess["layout"]) == ("labels", "flat-hwc")


def test_a_model_that_it_does_not_have_is_one_line(run, server):
    in_one_line(run("attack", f"{server}/none", *ATTACK), 4, "404", "none")
