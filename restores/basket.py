"""The basket: what somebody chose over several pages.  It lives in the session, and holds items of one account."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from backups.selectors import snapshots_visible
from backups.spelling import shown, unspell
from panel.accounts.models import Account
from panel.core.errors import Conflict, Invalid
from restores.choosing import Part, cleaned

_KEY = "basket"
MOST = 500
MOST_LETTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Chosen:
    """An item of the basket as a page shows it."""

    snapshot: Any
    path: str
    kind: str
    size: int | None

    @property
    def name(self) -> str:
        """Its path as people read it."""
        return shown(unspell(self.path))

    @property
    def ref(self) -> str:
        """What a form calls it."""
        return f"{self.snapshot.pk}:{self.path}"


class Basket:
    """The basket of a session, for a viewer."""

    def __init__(self, session: MutableMapping[str, Any], viewer: Any) -> None:
        self._session = session
        self._viewer = viewer
        stored = session.get(_KEY) or {}
        self.account_id: int | None = stored.get("account")
        self._rows: list[list[Any]] = stored.get("items", [])

    def items(self) -> list[Chosen]:
        """Return what is in it; what the viewer does not see any more is left out."""
        numbers = {row[0] for row in self._rows}
        snapshots = {row.pk: row for row in snapshots_visible(self._viewer).filter(pk__in=numbers)} if numbers else {}
        return [Chosen(snapshots[number], *rest) for number, *rest in self._rows if number in snapshots]

    def parts(self) -> list[Part]:
        """Return what is in it by snapshot."""
        paths: dict[Any, list[str]] = {}
        for chosen in self.items():
            paths.setdefault(chosen.snapshot, []).append(chosen.path)
        return [Part(snapshot, tuple(found)) for snapshot, found in paths.items()]

    @property
    def account(self) -> Account | None:
        """Whose items they are."""
        return Account.objects.visible_to(self._viewer).filter(pk=self.account_id).first() if self._rows else None

    def paths_of(self, snapshot: Any) -> set[str]:
        """Return the paths of a snapshot that are in it."""
        return {path for number, path, *_ in self._rows if number == snapshot.pk}

    def add(self, snapshot: Any, items: Iterable[tuple[str, str, int | None]], *, replace: bool = False) -> int:
        """Put items of a snapshot in; return how many are new.

        Conflict if the basket holds items of another account and ``replace`` does not say to start a new one.
        """
        if self._rows and self.account_id != snapshot.account_id and not replace:
            raise Conflict("The basket holds items of another account.")
        if self.account_id != snapshot.account_id:
            self._rows = []
        known = {(row[0], row[1]) for row in self._rows}
        new = []
        for path, kind, size in items:
            (one,) = cleaned([path])
            if one and (snapshot.pk, one) not in known:
                new.append([snapshot.pk, one, kind if kind in ("file", "dir") else "other", size])
        if len(self._rows) + len(new) > MOST:
            raise Invalid(f"A basket holds {MOST} items at most. Choose whole folders instead.")
        rows = [*self._rows, *new]
        if sum(len(row[1]) for row in rows) > MOST_LETTERS:
            raise Invalid("The paths of these items are too long for a basket. Choose folders above them instead.")
        self._save(snapshot.account_id, rows)
        return len(new)

    def remove(self, refs: Iterable[str]) -> None:
        """Take items out, by what forms call them."""
        gone = set(refs)
        self._save(self.account_id, [row for row in self._rows if f"{row[0]}:{row[1]}" not in gone])

    def clear(self) -> None:
        """Empty it."""
        self._save(None, [])

    def _save(self, account_id: int | None, rows: list[list[Any]]) -> None:
        self.account_id, self._rows = (account_id, rows) if rows else (None, [])
        self._session[_KEY] = {"account": self.account_id, "items": self._rows}


def summary(items: list[Chosen]) -> dict[str, Any]:
    """Return the basket's figures: items, bytes of files, and how many snapshots they are of."""
    folders = sum(chosen.kind == "dir" for chosen in items)
    return {
        "count": len(items),
        "size": sum(chosen.size or 0 for chosen in items),
        "folders": folders,
        "files": len(items) - folders,
        "points": len({chosen.snapshot.pk for chosen in items}),
    }
