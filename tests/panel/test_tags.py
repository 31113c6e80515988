"""What the pages' own tags make of odd values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from panel.ui.templatetags import panel as tags


@pytest.mark.parametrize("value", [None, ""])
def test_a_figure_that_nobody_told_is_a_dash_and_no_error(value: Any) -> None:
    assert tags.human_size(value) == "—"
    assert tags.human_duration(value) == "—"
    assert tags.thousands(value) == "0"


def test_figures_are_short_and_have_separators() -> None:
    assert tags.human_size(18_400) == "18.4 KB"
    assert tags.thousands(2_318_440) == "2,318,440"
    assert tags.human_duration(2832) == "47 min 12 s"


@pytest.mark.parametrize(
    ("extra", "address"),
    [("undo:/a/1/", "/a/1/"), ("x undo:/b/", "/b/"), ("", ""), ("undo://evil.example/", ""), ("undo:javascript:1", "")],
)
def test_undo_leads_to_addresses_of_the_panel_only(extra: str, address: str) -> None:
    assert tags.undo_address(SimpleNamespace(extra_tags=extra)) == address


def test_an_unknown_state_is_shown_and_names_are_escaped() -> None:
    assert "Pending" in tags.badge("new-in-some-version")
    assert "&lt;b&gt;" in tags.badge("success", "<b>")
