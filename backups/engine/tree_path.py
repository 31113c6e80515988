"""Finding one item of a snapshot by its path."""

from __future__ import annotations

from backups.engine.errors import BadRequest
from backups.engine.names import unquote_name
from backups.engine.repository import Repository
from backups.engine.tree import Node, decode_tree


def find_node(repository: Repository, tree: str, path: bytes) -> Node | None:
    """Return the node at ``path`` (``a/b``, a leading slash is ignored) below a tree; None for the tree itself.

    Raises BadRequest if there is none, Corrupt if a tree on the way cannot be read.
    """
    node: Node | None = None
    done = b""
    for part in path.split(b"/"):
        if not part:
            continue
        if node is not None:
            if node.subtree is None:
                raise BadRequest(f"{done.decode('utf-8', 'backslashreplace')} is not a folder of this snapshot")
            tree = node.subtree
        done += b"/" + part
        nodes = decode_tree(repository.load_tree(tree), check_names=False)
        node = next((child for child in nodes if unquote_name(child.name) == part), None)
        if node is None:
            raise BadRequest(f"{done.decode('utf-8', 'backslashreplace')} is not in this snapshot")
    return node


def find_tree(repository: Repository, tree: str, path: bytes) -> str:
    """Return the tree of the folder at ``path``.  Raises BadRequest, Corrupt."""
    node = find_node(repository, tree, path)
    if node is None:
        return tree
    if node.subtree is None:
        raise BadRequest(f"{path.decode('utf-8', 'backslashreplace')} is not a folder of this snapshot")
    return node.subtree
