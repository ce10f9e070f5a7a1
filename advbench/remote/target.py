"""A remote model: queries within a limit, never twice for the same image, and only while its answers are consistent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np

from advbench.core.errors import (
    AdvbenchError,
    InvalidEvaluation,
    QueriesSpent,
    TargetUnavailable,
)
from advbench.remote import answers
from advbench.remote.answers import AnswerFormat, found_in
from advbench.remote.protocols import Dialect
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Refused, Transport

Keys = dict[bytes, int]  # digest of an image as it is sent, and its first index

REMEMBERED: Final = 100_000  # answers; the oldest are forgotten
PROBE: Final = 8  # images that the model is tried with


class Target:
    """A function from images to logits, over a transport.

    Parameters
    ----------
    dialect : callable
        Maps an image shape (H, W, C) to the `Dialect` for such images.
    transport : Transport
        Sends requests.
    settings : TargetSettings
        The target file.
    budget : int, optional
        Query limit; further queries raise `QueriesSpent`.

    Attributes
    ----------
    asked, remembered : int
        Images sent to the server, and answered from memory.
    ended : AdvbenchError or None
        Reason why no more queries are sent.
    found : AnswerFormat or None
        Kind and form of the answers, once the model was tried.
    classes : int or None
        Number of classes of the data, to choose among several outputs.
    """

    def __init__(
        self,
        dialect: Callable[[tuple[int, ...]], Dialect],
        transport: Transport,
        settings: TargetSettings,
        budget: int | None = None,
    ):
        self.transport, self.settings, self.budget = transport, settings, budget
        self.asked = self.remembered = 0
        self.ended: AdvbenchError | None = None
        self.found: AnswerFormat | None = None
        self.classes = settings.classes
        self._dialect_for = dialect
        self._dialects: dict[tuple[int, ...], Dialect] = {}
        self._memory: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._form: tuple[int, ...] | None = None  # of one image's answer
        self._widest = 0
        self._most: int | None = None  # images in a request, once more were refused
        self._threads = ThreadPoolExecutor(settings.concurrency)

    def dialect(self, shape: tuple[int, ...]) -> Dialect:
        """Return the `Dialect` for images of a shape.

        Parameters
        ----------
        shape : tuple of int
            Image shape (H, W, C).

        Returns
        -------
        Dialect
            The same for each call.
        """
        if shape not in self._dialects:
            self._dialects[shape] = self._dialect_for(shape)
        return self._dialects[shape]

    @property
    def access(self) -> Literal["score", "decision"]:
        """Access that attacks have, as far as is known."""
        kind = self.found.kind if self.found else self.settings.answers
        return "decision" if kind == "labels" else "score"

    def probe(self, images: np.ndarray, classes: int) -> None:
        """Try the model: find out the kind of its answers, and check that they neither vary nor depend on the batch.

        Parameters
        ----------
        images : np.ndarray
            float32 `[n, H, W, C]` in [0, 1]; the first 8 are used.
        classes : int
            Number of classes of the data, for models that answer with labels, or with several outputs.

        Raises
        ------
        InvalidEvaluation
            When its answers are random, or depend on the other images of the request.
        AdvbenchError
            As `ask`.
        """
        self.classes = classes
        dialect = self.dialect(images.shape[1:])
        encoded = dialect.pixels.encode(images[:PROBE])
        first, again = (self._query(dialect, encoded) for _ in range(2))
        self.found = found = found_in(first, self.settings, classes, self.transport.address)
        alone = np.concatenate([self._query(dialect, encoded[at : at + 1]) for at in range(len(encoded))])
        for other, how in ((again, "when an image is sent again"), (alone, "when an image is sent alone")):
            if answers.changed(first, other, found.kind, found.resolution):
                raise InvalidEvaluation(
                    f"the answers of the model change {how}: a model that draws random numbers or depends on its batch "
                    "can't be evaluated by queries"
                )

    def ask(self, images: np.ndarray) -> np.ndarray:
        """Return logits for attacks; the same image is sent only once.

        Enough of the query limit is left to judge what an attack ends with.

        Parameters
        ----------
        images : np.ndarray
            float32 `[B, H, W, C]` in [0, 1].

        Returns
        -------
        np.ndarray
            Logits, float32 `[B, K]`.

        Raises
        ------
        TargetUnavailable, QueriesSpent, Interrupted
            From then on for all images that are not in memory.
        """
        self._widest = max(self._widest, len(images))
        return self._logits(images, self._recall)

    def confirm(self, images: np.ndarray) -> np.ndarray:
        """Return logits for the judge: as `ask`, but every image is sent, and its answer compared with the former one.

        Parameters
        ----------
        images : np.ndarray
            float32 `[B, H, W, C]` in [0, 1].

        Returns
        -------
        np.ndarray
            Logits, float32 `[B, K]`.

        Raises
        ------
        TargetUnavailable, QueriesSpent, Interrupted
            Also when an answer has changed.
        """
        return self._logits(images, self._compare)

    def _logits(self, images: np.ndarray, fetch: Callable[[Dialect, np.ndarray, Keys], None]) -> np.ndarray:
        dialect = self.dialect(images.shape[1:])
        encoded = dialect.pixels.encode(images)
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in encoded]
        fetch(dialect, encoded, {key: at for at, key in reversed(list(enumerate(keys)))})
        rows = np.stack([self._memory[key] for key in keys])
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)
        where = self.transport.address
        self.found = found = self.found or found_in(rows, self.settings, self.settings.classes or 2, where)
        try:
            return answers.logits(rows, found.kind, found.classes, where)
        except TargetUnavailable as error:
            raise self._end(error) from None

    def _recall(self, dialect: Dialect, encoded: np.ndarray, first: Keys) -> None:
        """Send the images that are not in memory."""
        new = [key for key in first if key not in self._memory]
        for key in first.keys() & self._memory.keys():
            self._memory.move_to_end(key)
        if new:
            if self.ended:
                raise self.ended
            rows = self._query(dialect, encoded[[first[key] for key in new]], reserve=self._widest)
            self._memory.update(zip(new, rows, strict=True))
        self.remembered += len(encoded) - len(new)

    def _compare(self, dialect: Dialect, encoded: np.ndarray, first: Keys) -> None:
        """Send all images and compare the answers; the part of the query limit that was left for this may be used."""
        if self.ended and not isinstance(self.ended, QueriesSpent):
            raise self.ended
        keys = list(first)
        rows = self._query(dialect, encoded[[first[key] for key in keys]])
        known = [at for at, key in enumerate(keys) if key in self._memory]
        if known and self.found:
            before = np.stack([self._memory[keys[at]] for at in known])
            if answers.changed(before, rows[known], self.found.kind, self.found.resolution):
                where = self.transport.address
                raise self._end(TargetUnavailable(f"{where} changed its answers to the same images"))
        self._memory.update(zip(keys, rows, strict=True))

    def _query(self, dialect: Dialect, encoded: np.ndarray, reserve: int = 0) -> np.ndarray:
        """Send all images, within the query limit less a reserve, in parallel requests."""
        size = min(dialect.batch, self._most or dialect.batch)
        parts = [encoded[at : at + size] for at in range(0, len(encoded), size)]
        try:
            if self.budget is not None and self.asked + len(encoded) + reserve > self.budget:
                raise QueriesSpent(f"the query limit of {self.budget:,} is reached ({self.asked:,} images were sent)")
            self.asked += len(encoded)
            rows = self._at_once(dialect, parts)
            self._form = form = rows[0].shape[1:] if self._form is None else self._form
            if any(part.shape[1:] != form for part in rows):
                raise TargetUnavailable(f"{self.transport.address} answered with rows of another length than before")
        except AdvbenchError as error:
            raise self._end(error) from None
        return np.concatenate(rows)

    def _at_once(self, dialect: Dialect, parts: list[np.ndarray]) -> list[np.ndarray]:
        """Send several requests; the first failure is raised without waiting for the others."""
        futures = [self._threads.submit(self._in_one, dialect, part) for part in parts]
        done, rest = wait(futures, return_when=FIRST_EXCEPTION)
        for future in rest:
            future.cancel()
        for future in done:
            future.result()
        return [future.result() for future in futures]

    def _in_one(self, dialect: Dialect, part: np.ndarray) -> np.ndarray:
        """Send one request, or halves of it if the server says that it takes fewer images at once."""
        most = self._most or len(part)
        if len(part) > most:
            return np.concatenate([self._in_one(dialect, each) for each in (part[:most], part[most:])])
        try:
            return dialect.ask(self.transport, part, self.classes)
        except Refused as error:
            if not error.for_its_size or len(part) == 1:
                raise
        half = len(part) // 2
        self._most = min(half, self._most or half)
        return self._in_one(dialect, part)

    def _end(self, error: AdvbenchError) -> AdvbenchError:
        """Send no more queries, except those of the judge if only the query limit was reached."""
        self.ended = error
        if not isinstance(error, QueriesSpent):
            self.transport.abandoned = True
        return error

    def account(self) -> dict[str, Any]:
        """Return the number and cost of queries, for the record.

        Returns
        -------
        dict
            Protocol, kind of answers, and counts.
        """
        dialect = next(iter(self._dialects.values()), None)
        return {
            "protocol": dialect.name if dialect else "",
            "answers": self.found.kind if self.found else None,
            "levels": dialect.pixels.levels if dialect else None,
            "asked": self.asked,
            "remembered": self.remembered,
            "requests": self.transport.requests,
            "retries": self.transport.retries,
            "budget": self.budget,
        }
