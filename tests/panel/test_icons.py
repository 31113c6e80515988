"""Every icon that a template or a table of icons names is there, and what is vendored carries its licence."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "static" / "vendor"
_IN_TEMPLATES = re.compile(r"{%\s*icon\s+\"([a-z0-9-]+)\"")
_SHAPE = re.compile(r'<svg[^>]*viewBox="0 0 24 24"', re.DOTALL)


def test_every_icon_that_a_template_names_is_there() -> None:
    named = {name for path in (ROOT / "templates").rglob("*.html") for name in _IN_TEMPLATES.findall(path.read_text())}
    assert named
    assert not sorted(name for name in named if not (VENDOR / "icons" / f"{name}.svg").exists())


def test_icons_are_drawn_alike() -> None:
    for path in (VENDOR / "icons").glob("*.svg"):
        assert _SHAPE.search(path.read_text()), path.name


def test_what_others_wrote_carries_its_licence() -> None:
    folders = [folder for folder in VENDOR.iterdir() if folder.is_dir()]
    folders.append(ROOT / "tests" / "browser" / "vendor" / "axe-core")
    assert len(folders) > 5
    assert not [folder.name for folder in folders if not (folder / "LICENSE").read_text().strip()]


def test_styles_hold_colours_in_one_file_only() -> None:
    for path in (ROOT / "static" / "css").glob("*.css"):
        if path.name == "tokens.css":
            continue
        text = re.sub(r"@media print \{.*", "", path.read_text(), flags=re.DOTALL)
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?![-\w])", text), path.name
