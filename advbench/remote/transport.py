"""JSON over HTTP, with limits on time, bytes, tries and pauses.

Certificates are verified, redirects are not followed, and the token, which comes from the environment alone, is in no
message. Failures are a `TargetUnavailable` in one line.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from advbench.core.errors import Interrupted, TargetUnavailable, UsageError
from advbench.remote.address import Address
from advbench.remote.exchange import (
    MEGABYTE,
    Answer,
    Broken,
    Exchange,
)
from advbench.remote.retry import pause
from advbench.remote.settings import TargetSettings

TOKEN = "ADVBENCH_TOKEN"  # noqa: S105 - the variable's name
BUSY = (429, 502, 503, 504)  # tried again, and nothing else that was answered
TOO_MANY = re.compile(r"batch|too (large|many|big)|exceed", re.IGNORECASE)  # as servers put it
SHOWN = 200  # characters of what a target says that reach a message
NAP = 0.1  # seconds between looks at whether to stop


class Refused(TargetUnavailable):
    """An answer with a status other than 200."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status

    @property
    def for_its_size(self) -> bool:
        """True if the server says that the request holds too many images, so that fewer may be accepted."""
        return self.status == 413 or (self.status in (400, 422, 500) and bool(TOO_MANY.search(str(self))))


class Transport:
    """Open connections to one remote model; safe to use from several threads.

    Parameters
    ----------
    address : Address
        The host; requests may use any path on it.
    settings : TargetSettings
        Limits.

    Raises
    ------
    UsageError
        When the token is not valid in a header, or would be sent unencrypted over a network.
    """

    def __init__(self, address: Address, settings: TargetSettings):
        self.address, self.settings = address, settings
        self.requests = self.retries = 0
        self.abandoned = False  # nothing more is wanted: threads that wait end
        self._counting = Lock()
        self.should_stop: Callable[[], int | None] = lambda: None
        self._token = os.environ.get(TOKEN, "")
        if self._token and not all(32 < ord(c) < 127 for c in self._token):
            raise UsageError(f"{TOKEN} has characters that are not allowed in a header: set it to the token alone")
        if self._token and address.scheme == "http" and not address.is_this_machine:
            raise UsageError(f"{TOKEN} is set, but {address.origin} is not encrypted: use https, or unset it")
        most = int(settings.response_megabytes * MEGABYTE)
        self._exchange = Exchange(address, settings.timeout, most)

    def get(self, path: str) -> Any:
        """Get the JSON at a path of the host.

        Parameters
        ----------
        path : str
            Path on the host.

        Returns
        -------
        JSON
            The answer.

        Raises
        ------
        TargetUnavailable
            When there is no good answer within the limits.
        """
        return self._json("GET", path, None)

    def post(self, path: str, document: Any) -> Any:
        """Send a JSON document, and return the JSON answer.

        Parameters
        ----------
        path : str
            Path on the host.
        document : JSON
            Content of the request.

        Returns
        -------
        JSON
            The answer.

        Raises
        ------
        UsageError
            When the document is larger than `request_megabytes`.
        TargetUnavailable
            When there is no good answer within the limits.
        """
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        if len(body) > self.settings.request_megabytes * MEGABYTE:
            raise UsageError(
                f"a request of {len(body):,} bytes is larger than request_megabytes allows; "
                "lower images_per_request in the target file"
            )
        return self._json("POST", path, body)

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        where = self.address.origin + path
        for attempt in range(self.settings.retries + 1):
            last = attempt == self.settings.retries
            self._check()
            with self._counting:
                self.requests += 1
            try:
                answer = self._exchange(method, path, body, self._headers(body))
            except Broken as error:
                if last or not error.again:
                    raise TargetUnavailable(f"{where} {self.clean(str(error))}") from None
                wait = pause(attempt, None)
            else:
                if answer.status not in BUSY or last:
                    return self._document(where, answer)
                wait = pause(attempt, answer.retry_after)
            if wait > self.settings.longest_wait:
                raise TargetUnavailable(f"{where} asked to retry after {wait:,.0f} s; try again later")
            with self._counting:
                self.retries += 1
            self._sleep(wait * random.uniform(1.0, 1.1))
        raise AssertionError("unreachable")

    def _document(self, where: str, answer: Answer) -> Any:
        if answer.status != 200:
            raise Refused(f"{where} answered {answer.status}{self._said(answer)}", answer.status)
        try:
            return json.loads(answer.content, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise TargetUnavailable(
                f"{where} answered something other than JSON: {self.clean(_text(answer.content))}"
            ) from None

    def _said(self, answer: Answer) -> str:
        if 300 <= answer.status < 400:
            return ": a redirect, which is not followed; give the final URL"
        hint = f" (is {TOKEN} right?)" if answer.status in (401, 403) else ""
        text = self.clean(_text(answer.content))
        return (f": {text}" if text else "") + hint

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            bearer = self.settings.token_header.lower() == "authorization"
            headers[self.settings.token_header] = f"Bearer {self._token}" if bearer else self._token
        return headers

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(NAP, left))

    def _check(self) -> None:
        """Raise an error if the answer is no longer needed."""
        if (signal := self.should_stop()) is not None:
            raise Interrupted("stopped", signal)
        if self.abandoned:
            raise TargetUnavailable(f"no more requests are sent to {self.address}, since one failed")

    def clean(self, text: str) -> str:
        """Make a line fit for a terminal and a report: short, printable, without the token.

        Parameters
        ----------
        text : str
            Any text.

        Returns
        -------
        str
            One line of at most 203 characters.
        """
        if self._token:
            text = text.replace(self._token, "***")
        line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
        return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def _text(content: bytes) -> str:
    return content[: 4 * SHOWN].decode("utf-8", "replace")


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
