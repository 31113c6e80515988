"""The words of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

VERSION = "holdfast 0.1.0"


def build(verbs: Mapping[str, Callable[..., Any]]) -> argparse.ArgumentParser:
    """Return the parser; ``verbs`` maps each verb to the function that does it."""
    parser = argparse.ArgumentParser(
        prog="python -m backups.engine",
        description="Make, keep, check and restore snapshots in a repository of restic's format.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    _common(parser)
    words = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Verb)
    for name, (text, fill) in _VERBS.items():
        if name in verbs:
            sub = words.add_parser(name, help=text, description=text, allow_abbrev=False)
            sub.fill = fill
            sub.set_defaults(run=verbs[name])
    return parser


class _Verb(argparse.ArgumentParser):
    """The parser of one verb; it gets its options when it is used: those of all verbs take long to make."""

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def filled(self) -> _Verb:
        """Return the parser with its options."""
        if self.fill is not None:
            fill, self.fill = self.fill, None
            fill(self)
            _common_again(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, with the options there."""
        return super(_Verb, self.filled()).parse_known_args(args, namespace)

    def format_help(self) -> str:
        """Return the help, with the options in it."""
        return super(_Verb, self.filled()).format_help()

    def format_usage(self) -> str:
        """Return the usage, with the options in it."""
        return super(_Verb, self.filled()).format_usage()


def _common_again(parser: argparse.ArgumentParser) -> None:
    """Take the common options after the verb too, where people write them; the help shows them once."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _common(common)
    for action in common._actions:
        action.default, action.help = argparse.SUPPRESS, argparse.SUPPRESS
        parser._add_action(action)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _common_again(sub)


def _common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-r", "--repo", metavar="LOCATION", help="the repository (or set HOLDFAST_REPOSITORY)")
    add("-p", "--password-file", metavar="FILE", help="the file whose first line is the password; - for standard input")
    add("--key-hint", default="", metavar="ID", help="the key to try first")
    add("--json", action="store_true", help="one JSON object a line")
    add("-q", "--quiet", action="store_true", help="results only")
    add("-v", "--verbose", action="count", default=0)
    add("--no-cache", action="store_true", help="keep nothing on the local disk")
    add("--cache-dir", metavar="DIR", help="where the caches are (default: ~/.cache/holdfast)")
    add("--no-lock", action="store_true", help="read without a lock (for read-only places)")
    add(
        "--retry-lock", type=seconds, default=0.0, metavar="DURATION", help="wait this long for another's lock: 30s, 5m"
    )
    add("--workers", type=int, metavar="N", help="helper processes (default: one a core; 0: none)")
    add("--workspace", metavar="DIR", help="where packs wait on their way to a remote place")


def seconds(text: str) -> float:
    """Return seconds of ``90``, ``30s``, ``5m`` or ``1h``."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        return float(text[:-1]) * factor if factor else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30s or 5m") from error


def _filter(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-H", "--host", action="append", metavar="NAME", help="only snapshots of this host")
    add("--tag", action="append", metavar="TAG[,TAG]", help="only snapshots with all of these tags")
    add("--path", action="append", metavar="PATH", help="only snapshots that have this path")


def _init(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--repository-version", default="stable", metavar="1|2|stable|latest")
    add("--copy-chunker-params", action="store_true", help="cut as --from-repo does, so that copies deduplicate")
    add("--from-repo", metavar="LOCATION")
    add("--from-password-file", metavar="FILE")
    add("--calibrate-key", action="store_true", help="make guessing a short password slow (half a second a try)")


def _backup(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH")
    add("--files-from", action="append", default=[], metavar="FILE", help="paths, one a line or NUL-separated")
    add("-H", "--host", metavar="NAME")
    add("--tag", action="append", default=[], metavar="TAG[,TAG]")
    add("--time", metavar="TIME", help="the time to give the snapshot: 2026-11-21 03:00:00")
    add("-f", "--force", action="store_true", help="read everything again")
    add("--parent", metavar="SNAP", help="compare with this snapshot")
    add("-g", "--group-by", default="host,paths", metavar="KEYS", help="what a parent must have in common")
    add("-e", "--exclude", action="append", default=[], metavar="PATTERN")
    add("--iexclude", action="append", default=[], metavar="PATTERN", help="the same, ignoring case")
    add("--exclude-file", action="append", default=[], metavar="FILE")
    add("--iexclude-file", action="append", default=[], metavar="FILE")
    add("--exclude-caches", action="store_true", help="leave out what lies beside a CACHEDIR.TAG")
    add("-x", "--one-file-system", action="store_true")
    add("--stdin", action="store_true")
    add("--stdin-filename", default="stdin", metavar="NAME")
    add("-n", "--dry-run", action="store_true")
    add("--skip-if-unchanged", action="store_true", help="make no snapshot if nothing changed")
    add("--pack-size", type=int, metavar="MIB")
    add("--compression", default="auto", choices=("off", "fastest", "auto", "better", "max"))


def _snapshots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="SNAP")
    _filter(parser)
    parser.add_argument("-g", "--group-by", default="", metavar="KEYS")
    parser.add_argument("--latest", type=int, default=0, metavar="N", help="only the newest N of each group")
    parser.add_argument("-c", "--compact", action="store_true")


def _ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snapshot", metavar="SNAP[:FOLDER]")
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("-l", "--long", action="store_true")
    parser.add_argument("--recursive", action="store_true", help="with a PATH: everything below it too")
    _filter(parser)


def _dump(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snapshot", metavar="SNAP[:FOLDER]")
    parser.add_argument("file", metavar="PATH")
    parser.add_argument(
        "-a", "--archive", default="tar", choices=("tar", "tar.gz", "zip"), help="how a folder is written"
    )
    parser.add_argument("-t", "--target", metavar="FILE", help="write to a file instead of standard output")
    _filter(parser)


def _restore(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("snapshot", metavar="SNAP[:FOLDER]")
    add("-t", "--target", required=True, metavar="DIR")
    add("-i", "--include", action="append", default=[], metavar="PATTERN")
    add("--iinclude", action="append", default=[], metavar="PATTERN")
    add("--include-file", action="append", default=[], metavar="FILE")
    add("-e", "--exclude", action="append", default=[], metavar="PATTERN")
    add("--iexclude", action="append", default=[], metavar="PATTERN")
    add("--exclude-file", action="append", default=[], metavar="FILE")
    add("--overwrite", default="always", choices=("always", "if-different", "if-changed", "if-newer", "never"))
    add("--delete", action="store_true", help="remove from the target what the snapshot does not have")
    add("--sparse", action="store_true", help="leave holes where files have zeros")
    add("--verify", action="store_true", help="read every restored file again and compare")
    add("-n", "--dry-run", action="store_true", help="only say what would be done")
    _filter(parser)


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("one", metavar="SNAP[:FOLDER]")
    parser.add_argument("other", metavar="SNAP[:FOLDER]")
    parser.add_argument("--metadata", action="store_true", help="show changes of metadata too")


def _find(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("patterns", nargs="+", metavar="PATTERN")
    add("-i", "--ignore-case", action="store_true")
    add("-l", "--long", action="store_true")
    add("-s", "--snapshot", action="append", default=[], metavar="SNAP")
    add("-N", "--newest", metavar="TIME", help="not changed after this time")
    add("-O", "--oldest", metavar="TIME", help="not changed before this time")
    _filter(parser)


def _stats(parser: argparse.ArgumentParser) -> None:
    modes = ("restore-size", "files-by-contents", "blobs-per-file", "raw-data")
    parser.add_argument("ids", nargs="*", metavar="SNAP")
    parser.add_argument("--mode", default="restore-size", choices=modes)
    _filter(parser)


def _tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="SNAP")
    parser.add_argument("--set", action="append", default=[], metavar="TAG[,TAG]", dest="set_tags")
    parser.add_argument("--add", action="append", default=[], metavar="TAG[,TAG]", dest="add_tags")
    parser.add_argument("--remove", action="append", default=[], metavar="TAG[,TAG]", dest="remove_tags")
    _filter(parser)


def _forget(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ids", nargs="*", metavar="SNAP")
    for rule, letter in (
        ("last", "l"),
        ("hourly", "H"),
        ("daily", "d"),
        ("weekly", "w"),
        ("monthly", "m"),
        ("yearly", "y"),
    ):
        add(f"-{letter}", f"--keep-{rule}", metavar="N", default="0", help="a number, or unlimited")
    for span in ("", "-hourly", "-daily", "-weekly", "-monthly", "-yearly"):
        add(f"--keep-within{span}", metavar="DURATION", default="", help="like 1y5m7d2h")
    add("--keep-tag", action="append", default=[], metavar="TAG[,TAG]")
    add("--host", action="append", metavar="NAME")
    add("--tag", action="append", metavar="TAG[,TAG]")
    add("--path", action="append", metavar="PATH")
    add("-g", "--group-by", default="host,paths", metavar="KEYS")
    add("-c", "--compact", action="store_true")
    add("-n", "--dry-run", action="store_true")
    add("--prune", action="store_true", help="free the space at once")
    add("--unsafe-allow-remove-all", action="store_true")
    _prune_options(parser)


def _prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true")
    _prune_options(parser)


def _prune_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-unused", default="5%", metavar="LIMIT", help="5%%, 200M or unlimited")
    add("--max-repack-size", metavar="SIZE", help="stop copying after this much; the next prune goes on")
    add("--repack-smaller-than", metavar="SIZE")
    add("--repack-cacheable-only", action="store_true", help="leave packs of file data alone")
    add("--repack-uncompressed", action="store_true")


def _check(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--read-data", action="store_true", help="read everything")
    add("--read-data-subset", metavar="n/m|P%|SIZE", help="read part of it")
    add("--position-file", metavar="FILE", help="go on where the last check stopped, and note where this one does")
    add("--time-limit", type=seconds, metavar="DURATION", help="stop reading after this long")


def _repair(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    index = words.add_parser("index", help="make the index anew from the packs")
    index.add_argument("--read-all-packs", action="store_true")
    packs = words.add_parser("packs", help="save what is whole in damaged packs")
    packs.add_argument("ids", nargs="+", metavar="PACK")
    snapshots = words.add_parser("snapshots", help="take what is lost out of the snapshots")
    snapshots.add_argument("ids", nargs="*", metavar="SNAP")
    snapshots.add_argument("--forget", action="store_true", help="remove the damaged originals")
    snapshots.add_argument("-n", "--dry-run", action="store_true")
    _filter(snapshots)


def _copy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="SNAP")
    parser.add_argument("--from-repo", required=True, metavar="LOCATION")
    parser.add_argument("--from-password-file", metavar="FILE")
    _filter(parser)


def _key(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    words.add_parser("list", help="show the keys")
    for name, text in (("add", "add a password"), ("passwd", "change the password in use")):
        sub = words.add_parser(name, help=text)
        sub.add_argument("--new-password-file", required=True, metavar="FILE")
        sub.add_argument("--host", default="", metavar="NAME")
        sub.add_argument("--user", default="", metavar="NAME")
        sub.add_argument("--calibrate-key", action="store_true")
    remove = words.add_parser("remove", help="remove a key")
    remove.add_argument("id", metavar="ID")


def _unlock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--remove-all", action="store_true", help="also locks that may be in use")


def _cat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "type", choices=("config", "masterkey", "key", "index", "snapshot", "lock", "pack", "blob", "tree")
    )
    parser.add_argument("id", nargs="?", default="", metavar="ID")


def _nothing(_: argparse.ArgumentParser) -> None:
    """A verb without options of its own."""


_VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "init": ("make a new repository", _init),
    "backup": ("back up files and folders, or standard input", _backup),
    "snapshots": ("list snapshots", _snapshots),
    "ls": ("list what is in a snapshot", _ls),
    "dump": ("write a file, or a folder as an archive, to standard output", _dump),
    "restore": ("bring a snapshot, or part of it, back", _restore),
    "diff": ("say what changed between two snapshots", _diff),
    "find": ("find every version of a file in all snapshots", _find),
    "stats": ("measure snapshots", _stats),
    "tag": ("change the tags of snapshots", _tag),
    "forget": ("remove snapshots by rules", _forget),
    "prune": ("free the space of what no snapshot needs", _prune),
    "check": ("look for damage", _check),
    "repair": ("repair index, packs or snapshots", _repair),
    "recover": ("make a snapshot of folders no snapshot refers to", _nothing),
    "copy": ("copy snapshots from another repository", _copy),
    "key": ("manage keys: list, add, remove, passwd", _key),
    "locks": ("list locks", _nothing),
    "unlock": ("remove stale locks", _unlock),
    "upgrade": ("upgrade a version 1 repository to version 2", _nothing),
    "cat": ("show an object as it is stored, decoded", _cat),
}
