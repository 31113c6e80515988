"""The panel: Django settings, and the floor under every app."""

__version__ = "0.1.0"
