"""Templates, and the page around them: escaped by default, forbidden to load or run anything but its own."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from advbench import __version__
from advbench.reports.table import printable


class Asset(NamedTuple):
    """A style sheet or script that stands in the page, and the digest by which the page allows it."""

    text: Markup
    hash: str


def render(template: str, **content: Any) -> str:
    """A page. All text in `content` is escaped, and freed of characters that can't be seen."""
    style, script = _asset("style.css"), _asset("script.js")
    page = _environment().get_template(template)
    return page.render(**content, style=style, script=script, version=__version__)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("advbench.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(value: Any) -> Any:
    """Names come from files: nothing of them may hide or turn around what stands beside."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def _asset(name: str) -> Asset:
    text = (files("advbench.reports.html") / "templates" / name).read_text(encoding="utf-8")
    digest = b64encode(sha256(text.encode()).digest()).decode()
    return Asset(Markup(text), f"sha256-{digest}")  # noqa: S704 - our own file
