"""Two days of one database dump, as mysqldump writes it: extended INSERTs of about a megabyte."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.bench.corpus import Corpus

SIZE = 1_500_000_000  # bytes at scale 1
BATCH = 1_000_000  # bytes of one INSERT
CHANGED_CLUSTERS = 10  # batches of a table in which a few neighbours changed
RECENT = 0.95  # beyond this share of a table every fifth row changed
APPENDED = 0.01  # share of a table that is new the next day
HEAD = "-- MySQL dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu\n-- Database: shop\n\nSET NAMES utf8mb4;\n"
FIRST_NAMES = ("Ada", "Bela", "Chen", "Dario", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jun")
LAST_NAMES = ("Abbott", "Bauer", "Costa", "Dubois", "Eriksen", "Fontana", "Gupta", "Haas", "Ivanova", "Jansen")


@dataclass
class Row:
    """What a row is made from: its own generator, its number, what it says of its age, and text to quote."""

    rng: random.Random
    number: int
    edition: int
    text: str

    def moment(self) -> str:
        n = self.number
        return f"2024-{n // 7 % 12 + 1:02d}-{n // 3 % 28 + 1:02d} {n % 24:02d}:{n % 60:02d}:{n * 7 % 60:02d}"

    def excerpt(self, longest: int, mean: int) -> str:
        size = min(longest, int(self.rng.expovariate(1 / mean)) + 40)
        start = self.rng.randrange(max(1, len(self.text) - size))
        return self.text[start : start + size]


def post(row: Row) -> str:
    when = row.moment()
    title = f"'Entry {row.number} {row.rng.getrandbits(32):x}','','publish','open','open','','entry-{row.number}'"
    link = f"'https://shop.example/?p={row.number}'"
    return (
        f"({row.number},{row.rng.randrange(1, 400)},'{when}','{when}','{row.excerpt(6000, 1500)}',{title},"
        f"'','','{when}','{when}','',0,{link},{row.edition},'post','',{row.rng.randrange(50)})"
    )


def meta(row: Row) -> str:
    key = row.rng.choice(
        ("_edit_lock", "_price", "_sku", "_thumbnail_id", "_wp_attached_file", "total_sales", "_stock")
    )
    return f"({row.number},{row.number // 9},'{key}','{row.rng.randrange(10**9)}:{row.edition}')"


def option(row: Row) -> str:
    value = (
        f'a:3:{{s:4:\\"time\\";i:{1_700_000_000 + row.number};s:3:\\"key\\";s:32:\\"{row.rng.getrandbits(128):032x}\\";'
        f's:1:\\"v\\";i:{row.edition};}}'
    )
    return f"({row.number},'_transient_{row.rng.getrandbits(64):016x}','{value}','no')"


def order(row: Row) -> str:
    rng, when = row.rng, row.moment()
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    sums = f"{rng.randrange(1000) / 100:.2f},{rng.randrange(10**6) / 100:.2f},{rng.randrange(90_000)}"
    address = f"10.{row.number % 251}.{row.number % 83}.{rng.randrange(255)}"
    return (
        f"({row.number},'wc-completed','EUR','shop_order',{sums},"
        f"'{first.lower()}.{last.lower()}{rng.randrange(10**4)}@example.org','{when}','{when}',0,"
        f"'card','Card','{rng.getrandbits(64):016x}','{address}','Mozilla/5.0 (X11; Linux x86_64)',"
        f"'{first} {last}, {rng.randrange(200)} High Street',{row.edition})"
    )


def comment(row: Row) -> str:
    rng, when, who = row.rng, row.moment(), row.rng.randrange(10**5)
    return (
        f"({row.number},{rng.randrange(10**5)},'visitor{who}','v{who}@example.org','','10.{row.number % 255}."
        f"{rng.randrange(255)}.1','{when}','{when}','{row.excerpt(500, 200)}',0,'1','','comment',0,{row.edition})"
    )


def hit(row: Row) -> str:
    rng = row.rng
    address = f"10.{rng.randrange(255)}.{rng.randrange(255)}.{rng.randrange(255)}"
    path = f"/product/{rng.randrange(5000)}?ref={rng.getrandbits(32):08x}"
    status = rng.choice((200, 200, 200, 301, 404))
    answer = f"{status},{rng.randrange(200, 90_000)}"
    return f"({row.number},'{row.moment()}','GET','{path}',{answer},'{address}',{row.edition})"


Shape = Callable[[Row], str]
TABLES: tuple[tuple[str, float, Shape], ...] = (
    ("wp_posts", 0.40, post),
    ("wp_postmeta", 0.22, meta),
    ("wp_options", 0.05, option),
    ("wc_orders", 0.15, order),
    ("wp_comments", 0.10, comment),
    ("access_log", 0.08, hit),
)


@dataclass
class Table:
    """One table on both days."""

    name: str
    size: int
    shape: Shape
    seed: str
    text: str

    def rows(self, rng: random.Random, numbers: range, edition: int) -> list[str]:
        return [self.shape(Row(rng, number, edition, self.text)) for number in numbers]

    def batches(self) -> Iterator[tuple[list[str], list[str]]]:
        """The rows of each INSERT on the first day and on the next."""
        rng = random.Random(f"{self.seed}/{self.name}")
        clusters = set(rng.sample(range(max(12, self.size // BATCH)), CHANGED_CLUSTERS))
        number = written = index = 0
        while written < self.size:
            rows: list[str] = []
            length, goal = 0, min(BATCH, self.size - written)
            while length < goal:
                number += 1
                rows.append(self.shape(Row(rng, number, 1, self.text)))
                length += len(rows[-1]) + 1
            numbers = range(number - len(rows) + 1, number + 1)
            yield rows, self.next_day(index, rows, numbers, written > self.size * RECENT, index in clusters)
            written += length
            index += 1
        yield from (([], rows) for rows in self.appended(number + 1))

    def next_day(self, index: int, rows: list[str], numbers: range, recent: bool, cluster: bool) -> list[str]:
        if not recent and not cluster:
            return rows
        rng = random.Random(f"{self.seed}/{self.name}/{index}")
        start = rng.randrange(max(1, len(rows) - 5))
        changed = range(0, len(rows), 5) if recent else range(start, min(start + 5, len(rows)))
        later = list(rows)
        for i in changed:
            later[i] = self.shape(Row(rng, numbers[i], 2, self.text))
        return later

    def appended(self, number: int) -> Iterator[list[str]]:
        rng = random.Random(f"{self.seed}/{self.name}/appended")
        left = int(self.size * APPENDED)
        while left > 0:
            rows: list[str] = []
            while left > 0 and len(rows) < 3000:
                rows.append(self.shape(Row(rng, number, 1, self.text)))
                left -= len(rows[-1]) + 1
                number += 1
            yield rows

    def write(self, days: tuple[TextIO, TextIO]) -> None:
        columns = "  `id` bigint unsigned NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`id`)\n"
        for day in days:
            day.write(
                f"\nDROP TABLE IF EXISTS `{self.name}`;\nCREATE TABLE `{self.name}` (\n{columns}) ENGINE=InnoDB;\n"
            )
            day.write(f"LOCK TABLES `{self.name}` WRITE;\n")
        for both in self.batches():
            for day, rows in zip(days, both, strict=True):
                if rows:
                    day.write(f"INSERT INTO `{self.name}` VALUES {','.join(rows)};\n")
        for day in days:
            day.write("UNLOCK TABLES;\n")


def write_dumps(today: Path, tomorrow: Path, corpus: Corpus, scale: float, seed: str) -> None:
    """Write one database on two days: on the next, 1 % of the rows are new and 1 % changed, clustered or recent."""
    text = corpus.quoted("php", 24 << 20)
    with (
        today.open("w", encoding="ascii", buffering=1 << 20) as first,
        tomorrow.open("w", encoding="ascii", buffering=1 << 20) as second,
    ):
        for day in (first, second):
            day.write(HEAD)
        for name, share, shape in TABLES:
            Table(name, int(SIZE * scale * share), shape, seed, text).write((first, second))
