"""What the commands for other panels share: JSON in, JSON out, and exit statuses that scripts can tell apart.

A request is given as options, or as a JSON object on standard input with ``--json``.  The answer is one JSON object on
standard output: ``{"ok": true, ...}`` or ``{"ok": false, "error": {"code", "message", "guidance"}}``.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand

from panel.core.errors import Conflict, Invalid, NotAllowed, PanelError

OK, FAILED, WRONG, UNKNOWN, CONFLICT = 0, 1, 2, 3, 4
_LARGEST_INPUT = 1 << 20


class JsonCommand(BaseCommand):
    """A command of one verb.  Children say which words they take and do the work in :meth:`run`."""

    words: Sequence[tuple[str, str]] = ()
    """Word and its help; each is an option too."""
    lists: Sequence[str] = ()
    """Those of the words that are lists, separated by commas as options."""
    target = ""
    """What the one positional argument names, if there is one."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the words."""
        if self.target:
            parser.add_argument("target", metavar=self.target.upper(), help=f"the {self.target}: name or uid")
        parser.add_argument("--json", action="store_true", help="read the words as a JSON object from standard input")
        for word, text in self.words:
            parser.add_argument(f"--{word.replace('_', '-')}", dest=word, default=None, help=text)

    def handle(self, *_: Any, **options: Any) -> None:
        """Do it, and answer."""
        try:
            answer = self.run(self._given(options), options.get("target", ""))
        except PanelError as error:
            said = {"code": error.code, "message": str(error), "guidance": error.guidance}
            self._say({"ok": False, "error": said})
            sys.exit(status_of(error))
        self._say({"ok": True, **answer})

    def run(self, words: dict[str, Any], target: str) -> dict[str, Any]:
        """Do the work and return what the answer holds."""
        raise NotImplementedError

    def _given(self, options: dict[str, Any]) -> dict[str, Any]:
        words = {word: options[word] for word, _ in self.words if options.get(word) is not None}
        for word in self.lists:
            if word in words:
                words[word] = [part.strip() for part in words[word].split(",") if part.strip()]
        return self._read() | words if options["json"] else words

    @staticmethod
    def _read() -> dict[str, Any]:
        text = sys.stdin.read(_LARGEST_INPUT + 1)
        try:
            found = json.loads(text) if len(text) <= _LARGEST_INPUT else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Invalid("Standard input must hold one JSON object.")
        return found

    def _say(self, answer: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(answer, ensure_ascii=False, default=str))


def status_of(error: PanelError) -> int:
    """Return the exit status that stands for an error: 2 wrong words, 3 not found, 4 not possible now, 1 the rest."""
    if error.status == 404:
        return UNKNOWN
    if isinstance(error, Conflict):
        return CONFLICT
    return WRONG if isinstance(error, Invalid | NotAllowed) else FAILED
