"""A clock moved by hand."""

from __future__ import annotations


class HandClock:
    """Stands still; sleeping moves it on at once and is remembered."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
