"""Lines from a session's processes: long ones of several speakers at once arrive whole."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.lines import Lines
from backups.session import events


def test_long_lines_of_several_processes_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(events, "_OUT", writing)
    texts = {number: str(number) * 300_000 for number in range(1, 5)}
    children = []
    for number, text in texts.items():
        pid = os.fork()
        if not pid:
            try:
                for _ in range(3):
                    events.say("data", number, content=[text])
            finally:
                os._exit(0)
        children.append(pid)
    os.close(writing)
    lines, said = Lines(), list[dict[str, Any]]()
    while data := os.read(reading, 1 << 16):
        said += lines.take(data)
    os.close(reading)
    for pid in children:
        os.waitpid(pid, 0)
    assert sorted(each["item"] for each in said) == sorted([*texts] * 3)
    assert all(each["content"] == [texts[each["item"]]] for each in said)


@given(st.text(max_size=1600), st.integers(1, 3000))
def test_every_line_is_short_enough_to_be_written_at_once(text: str, portion: int) -> None:
    written: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "_write", written.append)
        events.say("problem", 7, path=text, message=text, more=[text])
    assert all(len(line) < events._AT_ONCE for line in written)
    stream = b"".join(line + b"\n" for line in written)
    lines = Lines()
    found = [said for at in range(0, len(stream), portion) for said in lines.take(stream[at : at + portion])]
    assert [each["more"] for each in found] == [[json.loads(json.dumps(text))]]


def test_names_that_are_no_text_stop_no_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(events, "_write", written.append)
    progress = events.SaidProgress(7, iter(range(10, 100)).__next__)
    progress.update(item=os.fsdecode(b"caf\xe9\n.txt"))
    progress.problem(os.fsdecode(b"\xff/x"), "no: '\udcff'")
    events.say("error", 7, message="[Errno 2] '\udcff\ud800'")
    current, problem, error = list(Lines().take(b"".join(line + b"\n" for line in written)))
    assert current["current"] == "caf\\xe9\\x0a.txt"
    assert (problem["path"], problem["message"]) == ("\\xff/x", "no: '?'")
    assert error["message"] == "[Errno 2] '??'"
