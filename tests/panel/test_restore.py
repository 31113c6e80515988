"""Restores, through the panel's own services, by real sessions."""

from __future__ import annotations

import pytest

from restores.services import restore_undo
from tests.panel.restoring import Site, ended, site  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_file_comes_back_and_the_undo_brings_everything_back_as_it_was(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    (site.home / "public_html" / "index.html").write_text("broken")
    (site.home / "public_html" / "shop" / "cart.php").unlink()
    (site.home / "public_html" / "new.txt").write_text("made later")
    before = site.state()
    restore = site.restore(snapshot, "public_html")
    ended(restore.job)
    assert (site.home / "public_html" / "index.html").read_bytes() == b"<h1>Welcome</h1>\n"
    assert (site.home / "public_html" / "shop" / "cart.php").exists()
    assert (site.home / "public_html" / "new.txt").exists()
    undo = restore_undo(restore, actor=site.people["alice"])
    site.work()
    ended(undo.job)
    assert site.state() == before
