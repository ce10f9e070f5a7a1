"""The URL of a remote model. It holds nothing secret, since it is part of results and messages."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from advbench.core.errors import UsageError

SCHEMES = ("http", "https")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A parsed URL, without user, query and fragment.

    Attributes
    ----------
    scheme : {"http", "https"}
        Whether requests are encrypted.
    host : str
        Name or IP address.
    port : int
        Port, given or the usual one.
    path : str
        Path, at least "/".
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `https://host[:port]/path`.

        Parameters
        ----------
        text : str
            The URL as typed.

        Returns
        -------
        Address
            Its parts.

        Raises
        ------
        UsageError
            For any other text, and for a URL with a user, a password, a query or a fragment: these may be secret and
            are not repeated in the message.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise UsageError("the target's URL can't be read; write it like https://host:8080/v2/models/NAME") from None
        if "@" in parts.netloc:
            raise UsageError("the target's URL holds a user or a password; leave it out and set ADVBENCH_TOKEN")
        if parts.query or parts.fragment:
            raise UsageError("the target's URL should end with its path: a secret belongs into ADVBENCH_TOKEN")
        scheme = parts.scheme.lower()
        if scheme not in SCHEMES or not parts.hostname or not all(33 <= ord(c) < 127 for c in text):
            raise UsageError("a target's URL is plain ASCII, like https://host:8080/v2/models/NAME")
        return cls(scheme, parts.hostname, port or PORTS[scheme], parts.path or "/")

    @property
    def origin(self) -> str:
        """`https://host:port`, without the port if it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")

    @property
    def is_this_machine(self) -> bool:
        """True for a loopback address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return self.origin + self.path
