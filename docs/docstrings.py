"""Show classes of settings with the docstrings that they have when imported: every setting, its type and default."""

import importlib
import inspect
from typing import Any

import griffe


class Settings(griffe.Extension):
    """Replace the docstring in the source by that of the class, which names inherited settings too."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Ask the class, if it belongs to the attacks or defenses."""
        if cls.docstring and cls.path.startswith(("advbench.attacks.", "advbench.defenses.")):
            real = getattr(importlib.import_module(cls.module.path), cls.name, None)
            cls.docstring.value = inspect.cleandoc(getattr(real, "__doc__", None) or cls.docstring.value)
