"""Decides which packs are kept, copied or removed.

The rules are those of the format's own tool: unused packs go, thin ones are copied until little enough is
unused, and small ones are joined once there are several.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection

import msgspec

from backups.engine.accounting import Account, PackUse, Sum, account
from backups.engine.blob import Codec
from backups.engine.errors import BadRequest, Corrupt
from backups.engine.layout import DATA
from backups.engine.pack import DEFAULT_PACK_SIZE, MIN_PACK_SIZE
from backups.engine.records import RECORD
from backups.engine.repository import Repository
from backups.engine.transfer import Task
from backups.engine.usage import used_by_snapshots
from backups.engine.watch import Watch

_FEW_SMALL_PACKS = 10
"""So many small packs must come together before they are joined; fewer would be joined again and again."""
_SMALL_QUANTILE = 0.03
_SMALL_SHARE = 0.8
_TAGS = struct.Struct(">32xI12x")
_PACK_BITS = (1 << 31) - 1


class Unused(msgspec.Struct, frozen=True):
    """How much may stay unused: a share of the result, or a number of bytes, or no limit (both None)."""

    percent: float | None = None
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Unused:
        """Read ``5%``, ``200M`` or ``unlimited``.  Raises BadRequest."""
        if text == "unlimited":
            return cls()
        if not text.endswith("%"):
            return cls(size=parse_size(text))
        try:
            percent = float(text[:-1])
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= 100:
            raise BadRequest(f"{text!r} is no percentage between 0% and 100%")
        return cls(percent=percent)

    def limit(self, used: int) -> float:
        """Return the bytes tolerated beside ``used`` bytes that are needed."""
        if self.size is not None:
            return self.size
        if self.percent is None or self.percent >= 100:
            return float("inf")
        return self.percent / (100 - self.percent) * used


def parse_size(text: str) -> int:
    """Read a number of bytes with an optional suffix K, M, G or T (powers of 1024).  Raises BadRequest."""
    digits = text.strip().upper().removesuffix("B").removesuffix("I")
    factor = 1024 ** ("KMGT".index(digits[-1]) + 1) if digits and digits[-1] in "KMGT" else 1
    number = digits if factor == 1 else digits[:-1]
    if not (number.isascii() and number.isdigit()):
        raise BadRequest(f"{text!r} is no size: give bytes, or a number with K, M, G or T")
    return int(number) * factor


class PruneOptions(msgspec.Struct, frozen=True):
    """What a prune may do.  Sizes in bytes.

    ``max_repack`` ends the copying; the next prune goes on.  ``repack_smaller_than`` takes the place of the
    threshold computed from the packs there are.  ``repack_cacheable_only`` leaves data packs alone that still hold
    something needed.  ``repack_uncompressed`` compresses what is stored uncompressed.  ``workers`` as everywhere.
    """

    max_unused: Unused = Unused(percent=5.0)
    max_repack: int | None = None
    repack_smaller_than: int | None = None
    repack_cacheable_only: bool = False
    repack_uncompressed: bool = False
    codec: Codec = msgspec.field(default_factory=Codec)
    pack_size: int = DEFAULT_PACK_SIZE
    workers: int | None = None


class PruneReport(msgspec.Struct):
    """The figures of a plan, or of a prune that was done.  Bytes are stored bytes.

    ``used``, ``duplicate`` (surplus copies) and ``unused`` are what was found; ``repacked`` is what is copied or
    left out in doing so (``repack_removed`` is the second part), ``removed`` what goes with whole packs.
    """

    used: Sum = msgspec.field(default_factory=Sum)
    duplicate: Sum = msgspec.field(default_factory=Sum)
    unused: Sum = msgspec.field(default_factory=Sum)
    repacked: Sum = msgspec.field(default_factory=Sum)
    repack_removed: Sum = msgspec.field(default_factory=Sum)
    removed: Sum = msgspec.field(default_factory=Sum)
    unreferenced_bytes: int = 0
    uncompressed_bytes: int = 0
    packs_used: int = 0
    packs_partly_used: int = 0
    packs_unused: int = 0
    packs_unreferenced: int = 0
    packs_missing: int = 0
    packs_kept: int = 0
    packs_repacked: int = 0
    packs_removed: int = 0
    packs_written: int = 0
    left_behind: int = 0
    """Objects that could not be removed; the next prune tries again."""

    @property
    def total(self) -> Sum:
        """Everything stored in packs."""
        parts = (self.used, self.duplicate, self.unused)
        return Sum(sum(p.blobs for p in parts), sum(p.bytes for p in parts) + self.unreferenced_bytes)

    @property
    def freed_bytes(self) -> int:
        """What goes away."""
        return self.unreferenced_bytes + self.removed.bytes + self.repack_removed.bytes

    @property
    def unused_after_bytes(self) -> int:
        """What stays though nothing needs it."""
        return self.duplicate.bytes + self.unused.bytes - self.removed.bytes - self.repack_removed.bytes


class PrunePlan(msgspec.Struct):
    """What is to be done.  Packs by their number in the index, those that the index does not know by their id."""

    unreferenced: set[str] = msgspec.field(default_factory=set)
    repack: list[int] = []
    remove: list[int] = []
    missing: list[int] = []
    tasks: list[Task] = []
    report: PruneReport = msgspec.field(default_factory=PruneReport)


class _Candidate(msgspec.Struct):
    number: int
    use: PackUse
    must_compress: bool


def plan_prune(
    repository: Repository, options: PruneOptions, *, forgotten: Collection[str] = (), watch: Watch | None = None
) -> PrunePlan:
    """Decide what to do with every pack; changes nothing."""
    watch = watch or Watch()
    usage = used_by_snapshots(repository, forgotten=forgotten, watch=watch, workers=options.workers)
    watch.step("listing packs")
    stored = repository.ids(DATA)
    books = account(usage, len(repository.index.packs))
    plan = PrunePlan()
    report = plan.report
    report.used, report.unused, report.duplicate = books.used, books.unused, books.duplicate
    threshold = _small_size(stored, options)
    _choose(_classify(repository, books, stored, threshold, options, plan), options, threshold, plan)
    plan.tasks = _tasks(repository, books, plan) if plan.repack else []
    report.packs_unreferenced = len(plan.unreferenced)
    report.packs_missing = len(plan.missing)
    report.packs_repacked = len(plan.repack)
    report.packs_removed = len(plan.remove)
    return plan


def _small_size(stored: dict[str, int], options: PruneOptions) -> float:
    """Return the size in bytes below which a pack counts as small."""
    if options.repack_smaller_than is not None:
        return options.repack_smaller_than
    sizes = sorted(stored.values()) or [0]
    return _SMALL_SHARE * max(MIN_PACK_SIZE, sizes[int(len(sizes) * _SMALL_QUANTILE)])


def _classify(
    repository: Repository,
    books: Account,
    stored: dict[str, int],
    threshold: float,
    options: PruneOptions,
    plan: PrunePlan,
) -> list[_Candidate]:
    """Sort the packs into the plan; return those that may be worth copying."""
    report = plan.report
    candidates: list[_Candidate] = []
    small: list[_Candidate] = []
    left = dict(stored)
    for number, (pack_id, use) in enumerate(zip(repository.index.packs, books.packs, strict=True)):
        name = pack_id.hex()
        size = left.pop(name, None)
        if size is None or (use.used_blobs and size != use.size):
            _accept_missing(name, size, use, number, plan)
            continue
        _count_pack(report, use, repository.version)
        must_compress = (
            repository.version >= 2 and use.has_uncompressed and (use.is_tree or options.repack_uncompressed)
        )
        if not use.used_blobs:
            plan.remove.append(number)
            report.removed.add(use.unused_blobs, use.unused_size)
        elif options.repack_cacheable_only and use.is_data:
            report.packs_kept += 1
        elif use.unused_blobs or use.is_mixed or must_compress:
            candidates.append(_Candidate(number, use, must_compress))
        elif size >= threshold:
            report.packs_kept += 1
        else:
            small.append(_Candidate(number, use, must_compress))
    plan.unreferenced = set(left)
    report.unreferenced_bytes = sum(left.values())
    if len(small) < _FEW_SMALL_PACKS:
        report.packs_kept += len(small)
        return candidates
    return candidates + small


def _accept_missing(name: str, size: int | None, use: PackUse, number: int, plan: PrunePlan) -> None:
    """Note a pack that is not there but not needed either; Corrupt if it is needed."""
    if use.used_blobs:
        what = "is missing" if size is None else f"has {size} bytes where the index says {use.size}"
        raise Corrupt(f"pack {name} is needed and {what}; run repair index before pruning", kind="pack", object_id=name)
    plan.missing.append(number)
    plan.report.removed.add(use.unused_blobs, use.unused_size)


def _count_pack(report: PruneReport, use: PackUse, version: int) -> None:
    if not use.used_blobs:
        report.packs_unused += 1
    elif use.unused_blobs:
        report.packs_partly_used += 1
    else:
        report.packs_used += 1
    if version >= 2 and use.has_uncompressed:
        report.uncompressed_bytes += use.size


def _choose(candidates: list[_Candidate], options: PruneOptions, threshold: float, plan: PrunePlan) -> None:
    """Decide which candidates are copied: trees, mixed and small packs first, then by their unused share."""
    report = plan.report
    tolerated = options.max_unused.limit(report.used.bytes)
    candidates.sort(key=lambda c: (c.use.is_data, c.use.size >= threshold, -c.use.unused_size / c.use.used_size))
    for candidate in candidates:
        use = candidate.use
        too_much = options.max_repack is not None and report.repacked.bytes + use.size >= options.max_repack
        enough = report.unused_after_bytes < tolerated and use.size >= threshold
        if too_much or (enough and use.is_data and not candidate.must_compress):
            report.packs_kept += 1
            continue
        plan.repack.append(candidate.number)
        report.repacked.add(use.blobs, use.size)
        report.repack_removed.add(use.unused_blobs, use.unused_size)
        if report.uncompressed_bytes and use.has_uncompressed:
            report.uncompressed_bytes -= use.size


def _tasks(repository: Repository, books: Account, plan: PrunePlan) -> list[Task]:
    """Return which blobs are to be copied from which pack; not those that a pack which stays has too."""
    table, marks = books.usage.table, books.usage.marks
    leaving = {*plan.repack, *plan.remove, *plan.missing}
    for group in books.groups:
        if any(table.location(number).pack not in leaving for number in group):
            for number in group:
                marks[number] = 0
    wanted = {number: array("I") for number in plan.repack}
    with memoryview(table.records()) as records:
        tags = _TAGS.iter_unpack(records[: table.count * RECORD])
        for number, (tag,) in enumerate(tags):
            if marks[number] and (tag & _PACK_BITS) in wanted:
                wanted[tag & _PACK_BITS].append(number)
    return [(pack, numbers) for pack, numbers in wanted.items() if numbers]
