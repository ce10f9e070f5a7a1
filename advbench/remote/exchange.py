"""One request and its answer over HTTP/1.1, with limits on time and bytes."""

from __future__ import annotations

import socket
import ssl
import weakref
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Timer
from typing import NamedTuple

from advbench.remote.address import Address

MEGABYTE = 1 << 20


class Answer(NamedTuple):
    """The answer to one request."""

    status: int
    retry_after: str | None
    content: bytes


class Broken(Exception):
    """No complete answer; `again` says whether another try may help."""

    def __init__(self, reason: str, again: bool = True):
        super().__init__(reason)
        self.again = again


class Exchange:
    """Open connections to one host; safe to use from several threads.

    Parameters
    ----------
    address : Address
        The host, and whether to encrypt; certificates are verified.
    timeout : float
        Seconds for one complete answer.
    most : int
        Largest number of bytes in an answer.
    """

    def __init__(self, address: Address, timeout: float, most: int):
        self.address, self.timeout, self.most = address, timeout, most
        self.idle: list[HTTPConnection] = []
        weakref.finalize(self, _close, self.idle)
        self.tls = ssl.create_default_context() if address.scheme == "https" else None

    def __call__(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send a request.

        Parameters
        ----------
        method : {"GET", "POST"}
            HTTP method.
        path : str
            Path on the host.
        body : bytes or None
            Content of the request.
        headers : dict
            Headers by name.

        Returns
        -------
        Answer
            Status, Retry-After header and content.

        Raises
        ------
        Broken
            When no complete answer comes back within the limits.
        """
        connection = self._connected()
        late: list[bool] = []
        timer = Timer(self.timeout, _cut, (connection, late))
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.getheader("Retry-After"), self._content(response))
        except (OSError, HTTPException, ValueError, Broken) as error:
            connection.close()
            if late or isinstance(error, TimeoutError):
                raise Broken(self._late) from None
            raise (error if isinstance(error, Broken) else Broken(_why(error))) from None
        finally:
            timer.cancel()
        if late or response.will_close:
            connection.close()
        else:
            self.idle.append(connection)
        return answer

    @property
    def _late(self) -> str:
        return f"gave no whole answer within {self.timeout:g} s"

    def _connected(self) -> HTTPConnection:
        with suppress(IndexError):
            return self.idle.pop()
        host, port = self.address.host, self.address.port
        connection = (
            HTTPSConnection(host, port, timeout=self.timeout, context=self.tls)
            if self.tls
            else HTTPConnection(host, port, timeout=self.timeout)
        )
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise Broken(f"has a certificate that can't be verified: {error.verify_message}", again=False) from None
        except (OSError, ValueError) as error:
            raise Broken(
                self._late if isinstance(error, TimeoutError) else f"can't be reached: {_why(error)}"
            ) from None
        return connection

    def _content(self, response: HTTPResponse) -> bytes:
        """Read the body, up to the limit."""
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise Broken("answers compressed, which was not asked for", again=False)
        content = response.read(self.most + 1)
        if len(content) > self.most:
            raise Broken(f"answers with more than {self.most:,} bytes", again=False)
        if response.length:  # what is still owed
            raise Broken("broke off in the middle of an answer")
        return content


def _close(connections: list[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


def _cut(connection: HTTPConnection, late: list[bool]) -> None:
    """Close a connection whose answer takes too long, even if bytes still arrive."""
    late.append(True)
    if connection.sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"broke off in the middle of an answer ({type(error).__name__})"
