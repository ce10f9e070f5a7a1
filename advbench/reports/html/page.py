"""Rendering of HTML pages: text is escaped, and the page may load or run only its own style and script."""

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
    """A style sheet or script embedded in the page, and the digest by which the page allows it."""

    text: Markup
    hash: str


def render(template: str, **content: Any) -> str:
    """Render a page from a template.

    Parameters
    ----------
    template : str
        File name of the template.
    **content
        Its variables; all text is escaped, and invisible characters are replaced.

    Returns
    -------
    str
        HTML.
    """
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
    """Replace invisible characters, so that a name from a file can't hide or reorder the text beside it."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def _asset(name: str) -> Asset:
    text = (files("advbench.reports.html") / "templates" / name).read_text(encoding="utf-8")
    digest = b64encode(sha256(text.encode()).digest()).decode()
    return Asset(Markup(text), f"sha256-{digest}")  # noqa: S704 - our own file
