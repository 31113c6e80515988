"""The parts of the engine that are compiled where a C compiler was at hand; everything works without them."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType


def load(name: str) -> ModuleType | None:
    """Return a compiled module by its full name; None if it was not built or ``HOLDFAST_CHUNKER=python`` forbids it."""
    if os.environ.get("HOLDFAST_CHUNKER") == "python":
        return None
    try:
        return import_module(name)
    except ImportError:
        return None
