"""Patterns match what they match in stock restic, on bytes, whatever the pattern."""

import json
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import BadRequest
from backups.engine.keys import KdfParams
from backups.engine.patterns import Patterns, Selection, expand_variables, lower, parse_pattern_file
from backups.engine.repository import Repository
from destinations.storage.local import LocalStore
from tests.peers import PASSWORD, Restic

MATCHES = """
*.go                    /foo/bar/test.go
*                       /foo/bar/test.go
**                      /foo/bar/test.go
/                       /foo
/**                     /foo/bar
foo*                    /foo/bar/test.go
bar*                    /foo/bar/test.go
bar/*                   /foo/bar/test.go
bar/test.go             /foo/bar/test.go
ba*/*.go                /foo/bar/test.go
/foo/bar                /foo/bar
/foo/bar/               /foo/bar
/foo///bar              /foo/bar
/foo/../bar             /bar
./bar                   /foo/bar
/foo                    /foo/baz
/foo/*                  /foo/baz
bar                     /foo/bar/baz
/foo/*/test.*           /foo/bar/test.go
/*/*/baz/test.*         /foo/bar/baz/test.go
foo/**/bar/*.go         /home/user/foo/work/special/project/bar/test.go
foo/**/bar/*.go         /home/user/foo/bar/test.go
foo/**/bar/*.go         /foo/bar/baz/bar/test.go
foo/**/bar              /home/user/foo/x/y/bar/main.go
foo/**/bar/**/x         /home/user/foo/bar/x
foo/**/bar/**/x         /home/user/foo/blaaa/blaz/bar/shared/work/x
user/**/hidden*/**/c    /home/user/work/x/y/hidden/z/a/b/c
foo/**                  /x/foo
foo/**/**/bar           /foo/bar
**/bar                  /bar
/**/bar                 /a/b/bar/c
/**/a*/**               /x/ab
a?c                     /x/abc
a?c                     /x/aéc
[a-c]x                  /bx
[^a-c]x                 /dx
[a\\-z]x                /-x
[\\]]                   /]
[!a]                    /!
\\*                     /*
a\\b                    /ab
*a*b*                   /xxaxxbxx
*a*a                    /aa
*aab                    /aaab
a**b                    /axxb
[]a                     -
"""
MISSES = """
*.c                     /foo/bar/test.go
/bar*                   /foo/bar/test.go
baz/*                   /foo/bar/test.go
tesT.*                  /foo/bar/test.go
/foo/bar                /foo/baz
/foo/bar                /foo/barx
/foo/../bar             /foo/bar
../bar                  /foo/bar
/foo/*                  /foo
/foo/*test.*            /foo/bar/test.go
/foo/*/bar/test.*       /foo/bar/test.go
/*/foo/bar/test.*       /foo/bar/baz/test.go
foo/**/bar/*.go         /home/user/foo/test.c
foo/**/bar/*.go         /bar/foo/main.go
user/**/important*      /home/user/work/x/y/hidden/x
foo/*/bar               /foo/bar
foo/**/bar              /foo/xbar
a?c                     /ac
a?c                     /a/c
a[^x]c                  /a/c
[^a-c]x                 /bx
[c-a]x                  /bx
[!a]                    /b
*a*a                    /a
.                       /foo
bar                     /foobar
"""


def rows(table: str) -> list[tuple[str, str]]:
    """The lines of a table, each a pattern and a path."""
    return [
        (pattern.replace("\\\\", "\\"), path)
        for pattern, path in map(str.split, table.strip().splitlines())
        if path != "-"
    ]


@pytest.mark.parametrize(("pattern", "path"), rows(MATCHES))
def test_a_pattern_matches(pattern: str, path: str) -> None:
    assert Patterns([pattern]).matches(path.encode())
    assert Patterns([pattern, "!nothing"]).matches(path.encode())
    assert not Patterns([pattern, "!" + pattern]).matches(path.encode())


@pytest.mark.parametrize(("pattern", "path"), rows(MISSES))
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not Patterns([pattern]).matches(path.encode())
    assert not Patterns([pattern, "!nothing"]).matches(path.encode())


@pytest.mark.parametrize(
    ("patterns", "path", "matches", "below"),
    [
        ([], "/foo/bar/test.go", False, False),
        (["*.go"], "/foo/bar", False, True),
        (["foo/bar"], "/x", False, True),
        (["/foo/bar/baz"], "/", False, True),
        (["/foo/bar/baz"], "/foo", False, True),
        (["/foo/bar/baz"], "/foo/bar", False, True),
        (["/foo/bar/baz"], "/foo/baz", False, False),
        (["/foo/bar/baz"], "/foo/bar/baz/qux", True, True),
        (["/foo/**/qux"], "/foo/bar/baz", False, True),
        (["/foo/**/qux"], "/bar", False, False),
        (["/foo/*/qux"], "/foo/bar", False, True),
        (["/foo/*/qux"], "/foo/bar/boo", False, False),
        (["/**/bar"], "/foo", False, True),
        (["/bar/*"], "/foo", False, False),
        (["/*/*/bar/test.*"], "/foo/bar/test.go", False, False),
        (["/*/*/bar/test.*", "*.go"], "/foo/bar/test.go", True, True),
        (["", "*.c"], "/foo/bar/test.go", False, True),
        (["/foo/*/test.c"], "/foo/bar/foo/bar/test.c", False, False),
        (["*.go", "!a.go"], "/x/a.go", False, False),
        (["!a.go", "*.go"], "/x/a.go", True, True),
        (["*", "!bar"], "/x/bar/baz", False, False),
        (["*", "!bar"], "/x/foo", True, True),
        (["/a/*", "!/a/b"], "/a/b/c", False, False),
        (["/a/*", "!/a/b", "/a/b/c"], "/a/b/c", True, True),
    ],
)
def test_a_list_of_patterns_says_what_matches_and_what_may_below(
    patterns: list[str], path: str, matches: bool, below: bool
) -> None:
    compiled = Patterns(patterns)
    assert compiled.matches(path.encode()) == matches
    assert compiled.may_match_below(path.encode()) == below


def test_bytes_that_are_no_utf_8_count_as_one_character_each() -> None:
    assert Patterns(["a??b"]).matches(b"/a\xff\xfeb")
    assert not Patterns(["a?b"]).matches(b"/a\xff\xfeb")
    assert Patterns([b"x\xff*"]).matches(b"/x\xff1")
    assert Patterns(["a[^b]"]).matches(b"/a\xff")
    assert Patterns(["*\n?"]).matches(b"/a\n\n")


def test_case_is_ignored_only_on_request() -> None:
    for pattern in ("*.JPG", "photo.jpg", "/Pictures", "ÄÖ/[X-Z]ß"):
        ignoring = Patterns([pattern], ignore_case=True)
        path = {"*.JPG": "/x/a.JpG", "photo.jpg": "/PHOTO.jpg", "/Pictures": "/pictures/x"}.get(pattern, "/äö/Yß")
        assert ignoring.matches(path.encode())
        assert not Patterns([pattern]).matches(path.encode())
    assert Patterns(["/Foo/Bar"], ignore_case=True).may_match_below(b"/fOO")


def test_lower_case_never_changes_the_length() -> None:
    assert lower("ABC") == "abc"
    assert lower("İΣ") == "iσ"


@pytest.mark.parametrize(
    "pattern",
    ["[", "a/[", "[]", "[]a]", "[-x]", "[a-]", "[a", "[a-", "[^", "x\\", "[\\", "[\\]", "**/[", "[a/b]", "![a"],
)
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match="malformed pattern"):
        Patterns(["fine", pattern])


def test_no_patterns_match_nothing_and_are_false() -> None:
    assert not Patterns([])
    assert not Patterns([""])
    assert Patterns(["x"])


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.monotonic()
    for pattern in ("*a" * 60 + "*b", "**/a*/" * 25 + "b", "/**/a" * 25 + "/b", "?*" * 60 + "b"):
        compiled = Patterns([pattern])
        assert not compiled.matches(b"/" + b"a" * 4000)
        assert not compiled.matches(b"/a" * 2000)
        assert not compiled.matches_entry(b"/a" * 2000)
    assert time.monotonic() - began < 20


part_texts = st.text("ab", min_size=1, max_size=3)
pattern_parts = st.lists(
    st.sampled_from(["a", "b", "*", "?", "[ab]", "[^a]", "\\a"]), min_size=1, max_size=3
).map("".join) | st.just("**") | part_texts  # fmt: skip
pattern_texts = st.builds(
    lambda negated, rooted, parts: ("!" if negated else "") + ("/" if rooted else "") + "/".join(parts),
    st.integers(0, 4).map(lambda n: n == 0), st.booleans(), st.lists(pattern_parts, min_size=1, max_size=4),
)  # fmt: skip
path_parts = st.lists(part_texts, min_size=1, max_size=5)


def glob_matches(glob: str, text: str) -> bool:
    """The plain definition of a part's match."""
    tokens = re.findall(r"\[\^?[ab]+\]|\\.|.", glob)
    table = {"*": ".*", "?": "."}
    return bool(
        re.fullmatch("".join(table.get(token, token[1:] if token[0] == "\\" else token) for token in tokens), text)
    )


def parts_match(pattern: list[str], path: list[str]) -> bool:
    """The plain definition: the pattern fits the beginning of the path."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(parts_match(pattern[1:], path[skipped:]) for skipped in range(len(path) + 1))
    return bool(path) and glob_matches(pattern[0], path[0]) and parts_match(pattern[1:], path[1:])


def one_matches(pattern: str, path: list[str]) -> bool:
    """The plain definition for one pattern without its exclamation mark."""
    if pattern.startswith("/"):
        return parts_match(pattern.strip("/").split("/"), path)
    return any(parts_match(pattern.split("/"), path[start:]) for start in range(len(path)))


@given(st.lists(pattern_texts, max_size=6), path_parts)
def test_the_fast_paths_agree_with_the_plain_definition(patterns: list[str], parts: list[str]) -> None:
    expected = False
    for pattern in patterns:
        if one_matches(pattern.removeprefix("!"), parts):
            expected = not pattern.startswith("!")
    compiled = Patterns(patterns)
    path = ("/" + "/".join(parts)).encode()
    assert compiled.matches(path) == expected
    folders = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts))]
    if not any(compiled.matches(folder.encode()) for folder in folders):
        assert compiled.matches_entry(path) == expected
    if expected and not any(pattern.startswith("!") for pattern in patterns):
        assert all(compiled.may_match_below(folder.encode()) for folder in folders)


def test_a_pattern_file_has_a_pattern_a_line() -> None:
    data = "\ufeff# comment\n\n  *.tmp \r\n/home/$USER/x\n${EMPTY}a$$b\n#no\n!keep\n".encode()
    assert parse_pattern_file(data, {"USER": "u"}) == ["*.tmp", "/home/u/x", "a$b", "!keep"]
    assert parse_pattern_file("a\nb".encode("utf-16"), {}) == ["a", "b"]
    assert parse_pattern_file(b"x\xff", {}) == ["x\udcff"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A", "1"), ("${A}", "1"), ("$AB", "2"), ("${A}B", "1B"), ("$", "$"), ("$/x", "$/x"), ("a$", "a$"),
        ("$$A", "$A"), ("${$}", "$"), ("${}", ""), ("${A", "A"), ("$1A", "A"), ("$é", "$é"), ("$missing.", "."),
        ("${a b}", ""), ("$A$AB", "12"), ("\\$A", "\\1"),
    ],
)  # fmt: skip
def test_variables_are_expanded_as_stock_restic_does(text: str, expanded: str) -> None:
    assert expand_variables(text, {"A": "1", "AB": "2"}) == expanded


def test_a_selection_wants_what_is_included_and_not_excluded() -> None:
    everything = Selection()
    assert everything.wants(b"/a")
    assert everything.enters(b"/a")
    some = Selection(includes=(Patterns(["/home/*/mail"]), Patterns([])), excludes=(Patterns(["*.tmp"]),))
    assert [some.wants(p) for p in (b"/home", b"/home/u/mail", b"/home/u/mail/x", b"/home/u/mail/x.tmp")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert [some.enters(p) for p in (b"/", b"/home", b"/home/u", b"/home/u/web", b"/etc", b"/home/u/mail/x.tmp")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


STOCK_LISTS = [
    ["*.log", "!keep.log"],
    ["cache", "/{root}/a/b*"],
    ["/{root}/a/**/z", "x/*"],
    ["**/b/**", "!/{root}/b"],
    ["*", "!a", "!a/*", "!/{root}/b"],
    ["/{root}/[^a-c]*", "b/[!a]*"],
    ["a/../b/", "?"],
    ["B", "*.LOG"],
    ["a?", "\\**"],
]


def sample_tree(root: Path) -> None:
    """A tree where every list of patterns has something to find."""
    rng = random.Random(5)
    names = ["a", "b", "ab", "cache", "x", "z", "keep.log", "B", "a.log", "é.LOG", "*s"]
    for _ in range(70):
        path = root.joinpath(*rng.choices(names[:6], k=rng.randint(0, 3)))
        path.mkdir(parents=True, exist_ok=True)
        if not (path / (name := rng.choice(names[6:]))).exists():
            (path / name).write_bytes(b"")


@pytest.mark.parametrize("flag", ["--exclude", "--iexclude"])
def test_stock_restic_leaves_out_the_same(flag: str, newest_restic: Restic, tmp_path: Path) -> None:
    root, repo = tmp_path / "source", tmp_path / "repository"
    sample_tree(root)
    everything = [root, *root.rglob("*")]
    Repository.create(LocalStore(repo), PASSWORD, params=KdfParams(1024, 8, 1))
    for patterns in STOCK_LISTS:
        texts = [pattern.replace("{root}", str(root).lstrip("/")) for pattern in patterns]
        command = ["--json", "backup", "--dry-run", "-vv", "--no-cache", str(root)]
        said = newest_restic.run(repo, *command, *(word for text in texts for word in (flag, text))).stdout
        events = [event for event in map(json.loads, said.splitlines()) if event["message_type"] == "verbose_status"]
        theirs = {event["item"].rstrip("/") for event in events if event["item"].startswith(str(root))}
        compiled = Patterns(texts, ignore_case=flag == "--iexclude")
        ours = {str(root)} | {str(path) for path in walk(root, compiled)}
        assert ours == theirs, texts
        assert len(ours) < len(everything)


def walk(folder: Path, excluded: Patterns) -> list[Path]:
    """What a backup takes: nothing below what is left out."""
    found = []
    for path in folder.iterdir():
        if not excluded.matches(bytes(path)):
            assert not excluded.matches_entry(bytes(path))
            found += [path, *(walk(path, excluded) if path.is_dir() else [])]
    return found
