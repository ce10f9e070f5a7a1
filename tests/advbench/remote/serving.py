"""A model server on loopback: a linear model in NumPy that speaks every protocol, and misbehaves on demand."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Served

    def log_message(self, *_: Any) -> None:
        pass

    def say(self, document: Any, status: int = 200, **headers: str) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Content_Type": "application/json", "Content_Length": str(len(content))} | headers
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(f"HTTP/1.1 {status} So\r\n{head}\r\n".encode() + content)

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers), None))
        if self.server.fault and self.server.fault(self, len(self.server.seen)):
            return
        self.say(*self.server.about(self.path))

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), document))
        if self.server.fault and self.server.fault(self, len(self.server.seen)):
            return
        self.say(self.server.answer(self.path, document))


class Served(ThreadingHTTPServer):
    """What it serves is set by its attributes, at any time.

    `fault(handler, count)` is called first for every request, and returns True when it has answered.
    """

    daemon_threads = True

    def __init__(self, weights: np.ndarray, bias: np.ndarray | float = 0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.weights, self.bias = weights, bias
        self.gives = "logits"
        self.datatype, self.shape = "FP32", []
        self.metadata: Any = None  # instead of what these say
        self.config: Any = None
        self.fault: Callable[[Handler, int], bool | None] | None = None
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.images = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are part of the game."""

    def url(self, path: str = "/v2/models/linear") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def about(self, path: str) -> tuple[Any, int]:
        if path.endswith("/config"):
            return ({"error": "no such thing"}, 404) if self.config is None else (self.config, 200)
        if path.startswith("/v2/models/linear"):
            tensor = {"name": "x", "datatype": self.datatype, "shape": self.shape}
            return ({"name": "linear", "inputs": [tensor]} if self.metadata is None else self.metadata), 200
        if path.endswith("/metadata") and self.metadata is not None:
            return self.metadata, 200
        return {"error": "no such thing"}, 404

    def rows(self, pixels: Any) -> np.ndarray:
        x = np.asarray(pixels, float)
        self.images += len(x)
        logits = x.reshape(len(x), -1) @ self.weights + self.bias
        if self.gives == "labels":
            return logits.argmax(1)
        if self.gives == "probabilities":
            odds = np.exp(logits - logits.max(1, keepdims=True))
            return odds / odds.sum(1, keepdims=True)
        return logits

    def answer(self, path: str, document: Any) -> Any:
        if "inputs" in document:
            (tensor,) = document["inputs"]
            scale = 255 if tensor["datatype"] == "UINT8" else 1
            rows = self.rows(np.reshape(tensor["data"], tensor["shape"]) / scale)
            kind = "INT64" if self.gives == "labels" else "FP32"
            return {
                "outputs": [{"name": "y", "datatype": kind, "shape": list(rows.shape), "data": rows.ravel().tolist()}]
            }
        if "instances" in document:
            return {"predictions": self.rows(document["instances"]).tolist()}
        if "png" in document:
            image = np.asarray(Image.open(io.BytesIO(base64.b64decode(document["png"]))))
            return {"scores": self.rows(image[None] / 255)[0].tolist()}
        return {"results": [{"scores": row.tolist()} for row in self.rows(document["pixels"])]}


def drop(handler: Handler) -> bool:
    """Close the connection without a word."""
    handler.connection.close()
    handler.close_connection = True
    return True


def drip(handler: Handler, until: threading.Event) -> bool:
    """An answer that comes byte by byte, never finished."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    try:
        while not until.wait(0.02):
            handler.wfile.write(b" ")
    except OSError:
        pass
    return drop(handler)
