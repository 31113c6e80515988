"""Decodes of a tree only what a walk needs, with a bound on the memory that a stranger's tree can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from backups.engine.errors import Corrupt

MOST_NODES = 1_500_000
"""Objects in the JSON of one tree; a tree of the largest size has a million honest ones."""

N = TypeVar("N")


class _Nodes(Protocol[N]):
    nodes: list[N]


def lean_decoder(tree: type[_Nodes[N]]) -> Callable[[bytes, str], list[N]]:
    """Return a function (JSON, tree id) -> nodes for a struct with the fields that are wanted of each node.

    What it returns raises Corrupt for anything that is no tree.
    """
    decode = msgspec.json.Decoder(tree).decode

    def decode_lean(data: bytes, tree_id: str) -> list[N]:
        if data.count(b"{") > MOST_NODES:
            raise Corrupt(f"tree {tree_id} has more items than any folder", kind="tree", object_id=tree_id)
        try:
            return decode(data).nodes
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Corrupt(f"tree {tree_id} is not the JSON of one: {error}", kind="tree", object_id=tree_id) from None

    return decode_lean
