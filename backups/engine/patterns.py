"""The pattern language of excludes, includes and find, as stock restic understands it.

A pattern is split at its slashes, and each part matches one part of the path: ``*`` any text, ``?`` one character,
``[a-c]`` and ``[^a-c]`` classes, a backslash takes the next character as it is.  ``**`` as a whole part stands for any
number of parts.  A pattern that begins with a slash counts from the root; any other may begin at every part.  In both
cases what lies below a match matches too.  ``!`` in front takes back what earlier patterns of the list matched.

Paths are absolute bytes.  Bytes that are no UTF-8 count as one character each.
"""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backups.engine.errors import BadRequest

_END = r"(?=/|\Z)"
_MAGIC = re.compile(r"[\\\[\]*?]").search
_ENV = re.compile(r"\$(?:\{([*#$@!?\-0-9])\}|\{([^}]*)\}|(\{)|([*#$@!?\-0-9])|([A-Za-z0-9_]+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One compiled pattern: ``here`` tests a path, ``below`` whether something beneath it may match; None: always."""

    parts: tuple[str, ...]
    rooted: bool
    negated: bool
    here: str
    below: str | None

    @property
    def kind(self) -> str:
        """A plain name or path, a glob for one name, or something else."""
        literal = not any(part == "**" or _MAGIC(part) for part in self.parts)
        if self.rooted:
            return "path" if literal else "path glob"
        if len(self.parts) > 1 or self.parts == ("**",):
            return "other"
        return "name" if literal else "name glob"


class Patterns:
    """A list of patterns, compiled once.  Raises ``BadRequest`` for a malformed one; empty ones count for nothing."""

    def __init__(self, patterns: Iterable[str | bytes], *, ignore_case: bool = False) -> None:
        texts = [_text(pattern) for pattern in patterns]
        self._lower = ignore_case
        self._rules = [_compile(lower(text) if ignore_case else text) for text in texts if text]
        self._ordered = [(rule.negated, re.compile(rule.here).search) for rule in self._rules]
        self._has_negation = any(rule.negated for rule in self._rules)
        self._below = [None if r.below is None else re.compile(r.below).search for r in self._rules]
        self._always_below = not self._has_negation and None in self._below
        self._prepare([rule for rule in self._rules if not rule.negated])

    def _prepare(self, rules: list[_Rule]) -> None:
        """Sort the patterns by what tests them fastest: sets for texts, one expression for all that is left."""
        kinds: dict[str, list[_Rule]] = {"name": [], "path": [], "name glob": [], "path glob": [], "other": []}
        for rule in rules:
            kinds[rule.kind].append(rule)
        self._names = frozenset(rule.parts[0] for rule in kinds["name"])
        self._paths = frozenset("/" + "/".join(rule.parts) for rule in kinds["path"])
        self._folders = tuple(path + "/" for path in self._paths)
        self._name_globs = _either(rule.here for rule in kinds["name glob"])
        rooted, others = _either(r.here for r in kinds["path glob"]), _either(r.here for r in kinds["other"])
        self._rest = [test for test in (rooted and rooted.match, others and others.search) if test]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def matches(self, path: bytes) -> bool:
        """Whether the path, or a folder it lies in, matches."""
        if not self._rules:
            return False
        text = self._text_of(path)
        if self._has_negation:
            return self._matches_in_order(text)
        if text in self._paths or text.startswith(self._folders):
            return True
        if self._names and not self._names.isdisjoint(text.split("/")):
            return True
        if self._name_globs is not None and self._name_globs.search(text):
            return True
        return any(test(text) for test in self._rest)

    def matches_entry(self, path: bytes) -> bool:
        """The same, quicker, for a walk that never enters what matches: the folders are known not to."""
        if not self._rules:
            return False
        text = self._text_of(path)
        if self._has_negation:
            return self._matches_in_order(text)
        slash = text.rfind("/")
        if text[slash + 1 :] in self._names or text in self._paths:
            return True
        if self._name_globs is not None and self._name_globs.match(text, slash):
            return True
        return any(test(text) for test in self._rest)

    def may_match_below(self, path: bytes) -> bool:
        """Whether something in this folder, however deep, may match."""
        if self._always_below:
            return True
        text, may = self._text_of(path), False
        for (negated, here), below in zip(self._ordered, self._below, strict=True):
            if negated:
                may = may and not here(text)
            else:
                may = may or below is None or bool(below(text))
        return may

    def _text_of(self, path: bytes) -> str:
        text = path.decode("utf-8", "surrogateescape")
        return lower(text) if self._lower else text

    def _matches_in_order(self, text: str) -> bool:
        matched = False
        for negated, test in self._ordered:
            if matched == negated and test(text):
                matched = not negated
        return matched


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a tree is wanted: all, or what one of ``includes`` matches, but nothing that one of ``excludes`` does."""

    includes: tuple[Patterns, ...] = ()
    excludes: tuple[Patterns, ...] = ()

    def wants(self, path: bytes) -> bool:
        """Whether this item is wanted."""
        if any(patterns.matches(path) for patterns in self.excludes):
            return False
        given = [patterns for patterns in self.includes if patterns]
        return not given or any(patterns.matches(path) for patterns in given)

    def enters(self, path: bytes) -> bool:
        """Whether something inside this folder may be wanted."""
        if any(patterns.matches(path) for patterns in self.excludes):
            return False
        given = [patterns for patterns in self.includes if patterns]
        return not given or any(patterns.may_match_below(path) for patterns in given)


def lower(text: str) -> str:
    """Lower case, character by character, so that the length stays."""
    return text.lower() if text.isascii() else "".join([character.lower()[0] for character in text])


def parse_pattern_file(data: bytes, environment: Mapping[str, str]) -> list[str]:
    """The patterns of a file: a line each, without outer white space, empty lines and lines that begin with ``#``.

    ``$NAME`` and ``${NAME}`` stand for variables of the environment, empty if unset; ``$$`` is a dollar sign.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = (
        data.decode("utf-16", "replace")
        if utf_16
        else data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    )
    lines = (line.strip() for line in text.split("\n"))
    return [expand_variables(line, environment) for line in lines if line and not line.startswith("#")]


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """``$NAME`` and ``${NAME}`` replaced; a dollar sign that begins neither stays."""

    def value(match: re.Match[str]) -> str:
        braced_special, braced, unclosed, special, plain = match.groups()
        name = braced_special or braced or special or plain or ""
        return "$" if name == "$" and not unclosed else environment.get(name, "")

    return _ENV.sub(value, text)


def _text(pattern: str | bytes) -> str:
    return pattern.decode("utf-8", "surrogateescape") if isinstance(pattern, bytes) else pattern


def _either(expressions: Iterable[str]) -> re.Pattern[str] | None:
    alternatives = "|".join(expressions)
    return re.compile(alternatives) if alternatives else None


def _compile(pattern: str) -> _Rule:
    negated = pattern.startswith("!")
    cleaned = posixpath.normpath(pattern[1:] if negated else pattern)
    rooted = cleaned.startswith("/")
    parts = tuple(cleaned.lstrip("/").split("/")) if cleaned.strip("/") else ("**",)
    try:
        here = ("\\A" if rooted else "") + (_path_expression(parts) or "/")
        below = _below_expression(parts) if rooted else None
    except ValueError as error:
        raise BadRequest(f"malformed pattern {pattern[:80]!r}: {error}") from None
    return _Rule(parts, rooted, negated, here, below)


def _path_expression(parts: tuple[str, ...]) -> str:
    """Runs of parts, with any number of parts between them.  The first place a run fits is as good as any later one,
    so none is tried twice: no pattern can make a match take long."""
    runs: list[list[str]] = [[]]
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append("/" + _part_expression(part))
    first, *rest = ["".join(run) + _END if run else "" for run in runs]
    return first + "".join(f"(?>(?:/[^/]++)*?{run})" for run in rest if run)


def _below_expression(parts: tuple[str, ...]) -> str:
    """Matches the folders on the way to a match, and everything inside one."""
    fixed = parts[: parts.index("**")] if "**" in parts else parts
    expression = ""
    for part in reversed(fixed):
        expression = f"/{_part_expression(part)}(?:\\Z|(?=/){expression})"
    return f"\\A(?:/?\\Z|{expression})"


def _part_expression(part: str) -> str:
    """A glob as a regular expression.  Each text between two stars is looked for once, leftmost, which is enough.

    Raises ``ValueError``."""
    pieces: list[str] = [""]
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            pieces.append("")
        elif character == "?":
            pieces[-1] += "[^/]"
        elif character == "[":
            expression, position = _class_expression(part, position)
            pieces[-1] += expression
        else:
            if character == "\\":
                character, position = _take(part, position)
            pieces[-1] += re.escape(character)
    first, *rest = pieces
    if not rest:
        return first
    *between, last = rest
    return first + "".join(f"(?>[^/]*?{piece})" for piece in between if piece) + f"[^/]*{last}"


def _class_expression(part: str, position: int) -> tuple[str, int]:
    negated = part.startswith("^", position)
    position += negated
    ranges = ""
    count = 0
    while not (count and part.startswith("]", position)):
        low, position = _take_bound(part, position)
        high = low
        if part.startswith("-", position):
            high, position = _take_bound(part, position + 1)
        if low <= high:
            ranges += f"\\U{ord(low):08x}-\\U{ord(high):08x}"
        count += 1
    if negated:
        return f"[^/{ranges}]", position + 1
    return f"(?!/)[{ranges}]" if ranges else "(?!)", position + 1


def _take_bound(part: str, position: int) -> tuple[str, int]:
    character, position = _take(part, position)
    if character in "-]":
        raise ValueError(f"{character} out of place in a class; put a backslash before it")
    if character == "\\":
        character, position = _take(part, position)
    if position >= len(part):
        raise ValueError("a class is not closed")
    return character, position


def _take(part: str, position: int) -> tuple[str, int]:
    if position >= len(part):
        raise ValueError("it ends in the middle of a class or after a backslash")
    return part[position], position + 1
