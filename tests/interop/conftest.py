"""Fixtures of the tests against stock restic."""

from tests.engine.conftest import awkward_parent, public_folder

__all__ = ["awkward_parent", "public_folder"]
