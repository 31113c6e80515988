"""Looking into snapshots: folders, search, versions and previews, answered by real readers."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.errors import Corrupt
from backups.models import Snapshot
from backups.session.browse import Browser
from backups.session.chosen import ChosenPaths
from backups.session.folders import Folders
from backups.session.putting import selector
from backups.session.spec import List, Search
from backups.spelling import clean, shown, spell, unspell
from backups.views.looking import look_at
from destinations.models import JobTraffic
from destinations.selectors import traffic_since
from restores.basket import Basket
from restores.choosing import cleaned
from tests.panel.restoring import Site, signed_in, site, write  # noqa: F401 - site is a fixture
from worker.clock import now

PIXEL = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


# ---------------------------------------------------------------- spelling


@given(st.binary(max_size=40))
def test_every_path_has_one_spelling_and_comes_back_from_it(raw: bytes) -> None:
    text = spell(raw)
    assert unspell(text) == raw
    assert spell(unspell(text)) == text
    assert json.loads(json.dumps(text)) == text
    assert all(letter.isprintable() or letter == "\xad" or ord(letter) > 127 for letter in text)
    assert not set(shown(raw)) & set("\n\r\t\0\u202e\x1b")


@pytest.mark.parametrize("path", ["a/../b", "..", "a//b", "a/./b", "a%2F..%2Fb", "a%00b", "x" * 1_100_000, "\ud800"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        clean(path)


def test_paths_inside_others_are_not_chosen_twice() -> None:
    assert cleaned(["web/a/b", "/web/a/", "web/ab", "web/%61/c"]) == ("web/a", "web/ab")


def test_a_choice_takes_what_is_below_and_leads_to_it() -> None:
    select = selector([b"a/b", b"c"])
    assert select is not None
    asked = {path: select(path, True) for path in (b"a", b"a/b", b"a/b/x/y", b"a/bc", b"c/d", b"d")}
    assert asked == {
        b"a": (False, True), b"a/b": (True, True), b"a/b/x/y": (True, True), b"a/bc": (False, False),
        b"c/d": (True, True), b"d": (False, False),
    }  # fmt: skip
    assert selector([b"a", b""]) is None


@given(st.lists(st.text("ab/", min_size=1, max_size=6), max_size=8), st.text("ab/", max_size=8))
def test_chosen_paths_are_told_as_slowly_looking_at_each_would(chosen: list[str], asked: str) -> None:
    wanted = [plain.encode() for path in chosen if (plain := path.strip("/"))]
    path = asked.strip("/").encode()
    found = ChosenPaths(wanted)
    assert found.holds(path) == any((path + b"/").startswith(one + b"/") for one in wanted)
    assert found.holds(path) or found.leads(path) == any((one + b"/").startswith(path + b"/") for one in wanted)


# ---------------------------------------------------------------- large folders


def tree(count: int) -> bytes:
    """A folder of many files, as the repository stores it."""
    nodes = ",".join(
        f'{{"name":"file-{number:06d}.txt","type":"file","mode":420,"mtime":"2026-11-21T05:{number % 60:02d}:00Z",'
        f'"uid":1,"gid":1,"inode":{number},"size":{number % 1000},"links":1,"content":["{"ab" * 32}"]}}'
        for number in range(count)
    )
    return f'{{"nodes":[{nodes}]}}\n'.encode()


class Trees:
    """A repository of one folder that counts how often it is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    def load_tree_as(self, tree: str, decode: Any) -> Any:
        self.reads += 1
        return decode(self.data, tree)

    def refresh_index(self) -> None:
        """Nothing to read."""

    def load_object(self, kind: str, name: str) -> bytes:
        return json.dumps({"time": "2026-01-02T03:04:05Z", "tree": "d" * 64, "paths": []}).encode()


def test_a_folder_of_100000_entries_pages_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "backups.session.browse.say_list",
        lambda event, item, entries, **fields: said.append({"entries": entries, **fields}),
    )
    trees = Trees(tree(100_000))
    browser = Browser(trees)  # type: ignore[arg-type]
    for sort, down in (("name", False), ("size", True), ("date", True)):
        browser.listing(List(item=1, snapshot="a" * 64, path="", sort=sort, down=down))
    began = time.process_time()
    for start in (0, 100, 50_000, 99_900):
        for sort, down in (("name", False), ("size", True), ("date", True)):
            browser.listing(List(item=1, snapshot="a" * 64, path="", start=start, sort=sort, down=down))
    assert (time.process_time() - began) / 12 < 0.1
    assert trees.reads == 1
    assert said[0]["total"] == 100_000
    assert [entry["name"] for entry in said[0]["entries"][:2]] == ["file-000000.txt", "file-000001.txt"]
    assert len(said[-1]["entries"]) == 100
    assert {entry["size"] for entry in said[1]["entries"]} == {999}


def test_folders_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backups.session.folders._KEPT", 250)
    folders = Folders(Trees(tree(100)))  # type: ignore[arg-type]
    for number in range(5):
        folders.folder(str(number))
    assert len(folders._known) == 2


def test_a_tree_that_is_none_and_names_that_lead_out_are_damage() -> None:
    with pytest.raises(Corrupt):
        Folders(Trees(b'{"nodes":1}')).folder("t")  # type: ignore[arg-type]
    hostile = Folders(Trees(b'{"nodes":[{"name":"..","type":"file"}]}'))  # type: ignore[arg-type]
    with pytest.raises(Corrupt):
        _ = hostile.folder("t").items[0].raw_name


def test_a_search_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "backups.session.browse.say_list",
        lambda event, item, entries, **fields: said.append({"entries": entries, **fields}),
    )
    browser = Browser(Trees(tree(20_000)))  # type: ignore[arg-type]
    browser.search(Search(item=1, snapshot="a" * 64, path="", text="file-0199", count=500))
    assert (len(said[0]["entries"]), said[0]["cut"]) == (100, False)
    browser.search(Search(item=1, snapshot="a" * 64, path="", text="file", seconds=0))
    assert said[1]["cut"]


# ---------------------------------------------------------------- previews


@pytest.mark.parametrize(
    ("content", "picture", "is_text"),
    [
        (PIXEL, "image/png", False),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg", False),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", False),
        (b"<svg onload=alert(1)>", "", True),
        (b"<script>alert(1)</script>", "", True),
        ("grüße\n".encode(), "", True),
        (b"\x7fELF\0\0\0", "", False),
        (bytes(range(1, 32)) * 9, "", False),
        (b"", "", True),
    ],
)
def test_what_a_file_is_shows_in_its_bytes(content: bytes, picture: str, is_text: bool) -> None:
    look = look_at(content)
    assert (look.picture, look.text is not None) == (picture, is_text)


# ---------------------------------------------------------------- through the pages


@pytest.mark.django_db
def test_the_pages_of_a_real_snapshot(site: Site) -> None:  # noqa: F811
    odd = os.fsencode(site.home) + b"/odd"
    os.mkdir(odd)
    for name in (b"caf\xe9.txt", b"line\nbreak.txt", b"<b>bold<b>.txt", "\u202egnp.exe".encode(), b"100%25 *?[.txt"):
        Path(os.fsdecode(odd + b"/" + name)).write_bytes(b"x" * len(name))
    os.symlink("/etc/passwd", odd + b"/link")
    os.mkfifo(odd + b"/pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(odd)
    listener.bind("sock")
    os.chdir(here)
    listener.close()
    write(site.home, {"pictures/dot.png": PIXEL, "pictures/fake.png": b"<script>1</script>"})
    first = site.back_up()
    write(site.home, {"notes.txt": b"second\n"})
    second = site.back_up()
    with signed_in(site.people, "alice") as browser:
        base = f"/snapshots/{second.pk}"
        home = browser.get(f"{base}/browse/")
        assert home.context["path"] == site.top
        assert [entry["name"] for entry in home.context["entries"]] == [
            "logs", "odd", "pictures", "public_html", "notes.txt",
        ]  # fmt: skip
        folder = browser.get(f"{base}/browse/", {"path": f"{site.top}/odd"})
        names = {entry["name"]: entry for entry in folder.context["entries"]}
        assert set(names) == {
            "caf\\xe9.txt", "line\\x0abreak.txt", "<b>bold<b>.txt", "\\xe2\\x80\\xaegnp.exe", "100%25 *?[.txt",
            "link", "pipe",
        }  # fmt: skip
        assert "<b>bold" not in folder.content.decode()
        assert names["link"]["target"] == "/etc/passwd"
        for entry in names.values():
            if entry["kind"] == "file":
                shown_page = browser.get(f"{base}/preview/", {"path": entry["path"]})
                assert shown_page.context["preview"].text == "x" * len(unspell(entry["raw"])), entry
        by_size = browser.get(f"{base}/browse/", {"path": f"{site.top}/odd", "sort": "size", "down": "1"})
        sizes = [entry["size"] or 0 for entry in by_size.context["entries"]]
        assert sizes == sorted(sizes, reverse=True)
        found = browser.get(f"{base}/browse/", {"path": "", "q": "CART"})
        assert [entry["path"] for entry in found.context["entries"]] == [f"{site.top}/public_html/shop/cart.php"]
        older = browser.get(f"{base}/versions/", {"path": f"{site.top}/notes.txt"})
        assert [[one["pk"] for one in version["snapshots"]] for version in older.context["versions"]] == [
            [second.pk], [first.pk],
        ]  # fmt: skip
        assert [version["mine"] for version in older.context["versions"]] == [True, False]
        same = browser.get(f"{base}/versions/", {"path": f"{site.top}/public_html/index.html"})
        assert [len(version["snapshots"]) for version in same.context["versions"]] == [2]

        picture = browser.get(f"{base}/picture/", {"path": f"{site.top}/pictures/dot.png"})
        assert (picture["Content-Type"], picture.content) == ("image/png", PIXEL)
        assert picture["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert picture["X-Content-Type-Options"] == "nosniff"
        assert browser.get(f"{base}/picture/", {"path": f"{site.top}/pictures/fake.png"}).status_code == 404
        fake = browser.get(f"{base}/preview/", {"path": f"{site.top}/pictures/fake.png"}).content.decode()
        assert "<script>1" not in fake
        for path in ("web/../../etc", "a%00b"):
            assert browser.get(f"{base}/browse/", {"path": path}).status_code == 404
        assert browser.get(f"{base}/browse/", {"path": f"{site.top}/nowhere"}).status_code == 409


@pytest.mark.django_db
def test_the_list_filters_and_pages(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    fields = {field.attname: getattr(snapshot, field.attname) for field in Snapshot._meta.fields if field.name != "id"}
    Snapshot.objects.bulk_create(Snapshot(**fields | {"snapshot_id": f"{number:064x}"}) for number in range(60))
    with signed_in(site.people, "alice") as browser:
        page = browser.get("/backups/restore/")
        assert len(page.context["snapshots"]) == 50
        rest = browser.get("/backups/restore/?" + page.context["next"])
        assert len(rest.context["snapshots"]) == 11
        both = {row.pk for row in [*page.context["snapshots"], *rest.context["snapshots"]]}
        assert len(both) == 61
        assert not browser.get("/backups/restore/?kind=safety").context["snapshots"]
        assert browser.get(f"/backups/restore/?schedule={site.schedule.pk}").context["snapshots"]
    with signed_in(site.people, "mallory") as browser:
        assert not browser.get("/backups/restore/").context["snapshots"]


@pytest.mark.django_db
def test_the_basket_survives_pages_and_holds_one_account(site: Site) -> None:  # noqa: F811
    mine = site.pretended()
    boxes = [f"file/17/{site.top}/public_html/index.html", f"dir//{site.top}/logs"]
    with signed_in(site.people, "alice") as browser:
        for box in (*boxes, boxes[0]):
            answer = browser.post(
                "/restores/basket/add/", {"snapshot": mine.pk, "item": [box], "next": "/restores/basket/"}
            )
            assert answer.status_code == 302
        page = browser.get("/restores/basket/")
        assert page.context["basket"] == {"count": 2, "size": 17, "folders": 1, "files": 1, "points": 1}
        form = browser.get("/restores/new/")
        assert [chosen.path for chosen in form.context["basket_items"]] == [
            f"{site.top}/public_html/index.html", f"{site.top}/logs",
        ]  # fmt: skip
        assert browser.post("/restores/basket/add/", {"snapshot": mine.pk, "item": ["file//../x"]}).status_code == 302
        evil = browser.post("/restores/basket/add/", {"snapshot": mine.pk, "next": "https://evil.example/"})
        assert evil.headers["Location"] == "/restores/basket/"
        browser.post("/restores/basket/remove/", {"ref": f"{mine.pk}:{site.top}/logs"})
        assert browser.get("/restores/basket/").context["basket"]["count"] == 1
        session: dict[str, Any] = {"basket": {"account": site.account.pk, "items": [[mine.pk, "web/x", "file", 1]]}}
        assert Basket(session, site.people["mallory"]).items() == []
        started = browser.post("/restores/new/", {"target": "in_place", "overwrite": "always", "safety": "on"})
        assert started.status_code == 302
        assert browser.get("/restores/basket/").context["basket"]["count"] == 0
    other = site.people["mallory_account"]
    with signed_in(site.people, "root") as browser:
        browser.post("/restores/basket/add/", {"snapshot": mine.pk, "item": [boxes[0]]})
        mine.pk, mine.snapshot_id, mine.account = None, "c" * 64, other
        mine.save(force_insert=True)
        asked = browser.post("/restores/basket/add/", {"snapshot": mine.pk, "item": ["file/1/web/home/mallory/x"]})
        assert asked.status_code == 409
        fields = {"snapshot": mine.pk, "item": ["file/1/web/home/mallory/x"], "replace": "1"}
        browser.post("/restores/basket/add/", fields)
        assert browser.get("/restores/basket/").context["account"] == other


# ---------------------------------------------------------------- traffic


def test_looking_into_a_snapshot_is_counted_for_its_destination_and_day(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    place = snapshot.repository.destination
    before = traffic_since(place, now().date())
    assert before["sent"] > 0, "the backup"
    site.ask("read", user=site.people["alice"], snapshot=snapshot.pk, path=f"{site.top}/notes.txt", limit=1000)

    def counted() -> dict[str, int]:
        site.readers.note()
        after = traffic_since(place, now().date())
        return {name: after[name] - before[name] for name in after}

    end = time.monotonic() + 20
    while counted()["received"] < 500 and time.monotonic() < end:
        time.sleep(0.1)
    more = counted()
    assert more["received"] >= 500, "keys, index, trees and the file were read"
    assert more["requests"] >= 4
    assert more["sent"] == 0
    assert not JobTraffic.objects.exclude(job=snapshot.job).exists(), "it is no job's"
