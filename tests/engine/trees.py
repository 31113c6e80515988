"""Trees in memory, for tests of what walks them."""

import hashlib
from typing import Any

from backups.engine.errors import Corrupt
from backups.engine.tree import Node, decode_tree, encode_node, encode_tree

TIME = "2024-01-02T03:04:05Z"


class Forest:
    """Trees by id, counting how often each is loaded."""

    def __init__(self) -> None:
        self.trees: dict[str, bytes] = {}
        self.loads: list[str] = []

    def plant(self, content: dict[str, Any]) -> str:
        """Store a tree and all below it; return its id.  A folder is a dict, a file a text, anything else a Node."""
        return self.put([self._node(name, value) for name, value in content.items()])

    def put(self, nodes: list[Node]) -> str:
        """Store a tree of these nodes."""
        data = encode_tree([encode_node(node) for node in nodes])
        tree_id = hashlib.sha256(data).hexdigest()
        self.trees[tree_id] = data
        return tree_id

    def _node(self, name: str, value: Any) -> Node:
        if isinstance(value, Node):
            return value
        if isinstance(value, dict):
            return folder(name, self.plant(value))
        return file(name, value)

    def load(self, tree_id: str) -> list[Node]:
        """The `load_tree` of the engine's algorithms."""
        self.loads.append(tree_id)
        if tree_id not in self.trees:
            raise Corrupt("no such tree", kind="tree", object_id=tree_id)
        return decode_tree(self.trees[tree_id])


def file(name: str, text: str, **fields: Any) -> Node:
    """A file's node; each character of the text is one blob."""
    content = [hashlib.sha256(letter.encode()).hexdigest() for letter in text]
    return node(name, "file", content=content, size=len(text), **fields)


def folder(name: str, subtree: str, **fields: Any) -> Node:
    """A folder's node."""
    return node(name, "dir", subtree=subtree, **fields)


def node(name: str, kind: str, **fields: Any) -> Node:
    """A node whose times are all the same."""
    return Node(**{"name": name, "type": kind, "mtime": TIME, "atime": TIME, "ctime": TIME, **fields})
