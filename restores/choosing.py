"""What somebody chose to get back: paths of snapshots, by the component they lie in."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backups.models import Snapshot
from backups.spelling import clean, outermost, spell
from panel.accounts.models import Account
from panel.core.errors import Invalid, NotAllowed

MOST_PATHS = 2000
MOST_LETTERS = 4 << 20
COMPONENTS = {
    "web": ("web", "Web files", "Websites and everything else in the home folder"),
    "databases": ("db", "Databases", "All databases and their tables"),
    "mail": ("mail", "Email data", "Mailboxes with their mail"),
    "ssl": ("ssl", "SSL certificates", "Certificates and keys"),
    "config": ("config", "Configuration", "Nginx and PHP-FPM"),
}
"""Component → its scope's code, the title of its card, and what it holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """Spelled paths of one snapshot; each begins with a component."""

    snapshot: Snapshot
    paths: tuple[str, ...]

    def stored(self) -> dict[str, Any]:
        """Return it as a row keeps it."""
        return {"snapshot": self.snapshot.pk, "paths": list(self.paths)}


def home_path(home: str) -> str:
    """Return the spelled path of a home folder in a snapshot."""
    return "web" + spell(os.fsencode(posixpath.normpath(home)))


def component_of(path: str) -> str:
    """Return the component a path lies in."""
    return path.partition("/")[0]


def is_inside(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or lies below it."""
    return path == folder or path.startswith(folder + "/")


def cleaned(paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths in their one spelling, without those that lie inside others.  Invalid."""
    found: set[str] = set()
    letters = 0
    for number, path in enumerate(paths):
        if number >= MOST_PATHS:
            raise Invalid(f"That is too much at once: at most {MOST_PATHS:,} items. Choose whole folders instead.")
        letters += len(path)
        if letters > MOST_LETTERS:
            raise Invalid("The paths of these items are too long together. Choose whole folders instead.")
        try:
            found.add(clean(path))
        except ValueError as error:
            raise Invalid("That is no path of a restore point.") from error
    return ("",) if "" in found else tuple(sorted(outermost(found, "/")))


def whole_component(snapshot: Snapshot, component: str) -> str:
    """Return the path of all of a component: of the web files, the account's home."""
    if component == "web" and snapshot.account is not None:
        return home_path(snapshot.account.home)
    return component


def narrowed(paths: Iterable[str], account: Account) -> list[str]:
    """Return paths with those above the account's home, ``web/home`` for one, narrowed down to the home."""
    home = home_path(account.home)
    return [home if path and is_inside(home, path) else path for path in paths]


def check_may_place(
    paths: Sequence[str], account: Account, snapshot: Snapshot, *, in_place: bool, by_admin: bool
) -> None:
    """Raise NotAllowed or Invalid unless these paths may be put back: a snapshot never says where it goes.

    Everybody: files of the home, into the home.  Administrators: configuration, in place too if the repository's
    keys are theirs alone.  Anything else can be downloaded.
    """
    home = home_path(account.home)
    for path in paths:
        if not path:
            raise Invalid("Choose what to restore.")
        if is_inside(path, home):
            continue
        if component_of(path) == "web":
            raise Invalid("Only files of the account's home can be restored; download the others.")
        if component_of(path) not in COMPONENTS:
            raise Invalid("This cannot be restored by itself; download it instead.")
        if in_place and (not by_admin or component_of(path) != "config"):
            raise NotAllowed(
                f"{COMPONENTS[component_of(path)][1]} cannot be put back in place here. "
                "Restore it into another folder, or download it."
            )
        if in_place and snapshot.repository.account_id is not None:
            raise NotAllowed(
                "Configuration goes back in place from a server-wide repository only: the key of this one is known "
                "to its customer. Restore it into another folder."
            )


def name_of_all(parts: Sequence[Part], account: Account) -> str:
    """Return what was chosen in a few words."""
    paths = [path for part in parts for path in part.paths]
    wholes = {home_path(account.home): "Web files"} | {code: words[1] for code, words in COMPONENTS.items()}
    names = [wholes.get(path) or path.rsplit("/", 1)[-1] or "Everything" for path in paths]
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more"


def scope_of_all(parts: Sequence[Part]) -> str:
    """Return the scope's code of what was chosen: one component's, or that of several."""
    found = {component_of(path) for part in parts for path in part.paths}
    return COMPONENTS[found.pop()][0] if len(found) == 1 and found <= set(COMPONENTS) else "full"


def stored_parts(stored: Sequence[dict[str, Any]]) -> list[Part]:
    """Return the parts of a row; LookupError if a snapshot of it is gone."""
    numbers = [part["snapshot"] for part in stored]
    snapshots = Snapshot.objects.present().select_related("account", "repository").in_bulk(numbers)
    return [Part(snapshots[part["snapshot"]], tuple(part["paths"])) for part in stored]
