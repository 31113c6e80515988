"""Rules about whose restored files become and with which permissions (RST-04 to RST-10)."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Mapping
from typing import Any

from panel.audit.services import record
from panel.core.errors import Conflict, Invalid
from restores.models import FilePermissionRule, RuleCategory

MOST = 50
_MODE = re.compile(r"0?[0-7]{3}").fullmatch
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}").fullmatch
_COMPONENTS = {"web": RuleCategory.HOME, "mail": RuleCategory.EMAIL}


class NoSuchOwner(Conflict):
    """A rule names somebody whom this server does not know."""

    code = "HF-RULE-OWNER"
    guidance = "An administrator corrects the rule under Settings, Restore, File permissions."


def rule_save(given: Mapping[str, str], *, actor: Any, rule: FilePermissionRule | None = None) -> FilePermissionRule:
    """Make a rule, or change one, from the texts of a form.  Invalid, Conflict; nothing is stored then."""
    if rule is None and FilePermissionRule.objects.count() >= MOST:
        raise Conflict(f"There are {MOST} rules already.")
    made = rule is None
    rule = rule or FilePermissionRule()
    rule.pattern = _pattern(given.get("pattern", ""))
    rule.category = given.get("category", "")
    if rule.category not in RuleCategory.values:
        raise Invalid("Choose what the rule is about.")
    rule.owner, rule.group = _name(given.get("owner", "")), _name(given.get("group", ""))
    rule.file_mode, rule.folder_mode = _mode(given.get("file_mode", "")), _mode(given.get("folder_mode", ""))
    rule.recursive = given.get("recursive", "") in ("on", "true", "1", "yes")
    if not (rule.owner or rule.group or rule.file_mode or rule.folder_mode):
        raise Invalid("Say what the rule gives: an owner, a group, or permissions.")
    ids_of(rule)
    rule.save()
    record("permission_rule.created" if made else "permission_rule.changed", actor=actor,
           subject=f"permission_rule:{rule.pk}", rule=str(rule))  # fmt: skip
    return rule


def rule_delete(rule: FilePermissionRule, *, actor: Any) -> None:
    """Remove a rule."""
    record("permission_rule.deleted", actor=actor, subject=f"permission_rule:{rule.pk}", rule=str(rule))
    rule.delete()


def rules_for(component: str) -> list[dict[str, Any]]:
    """Return the rules of a component as a session is told them, in the order they apply.  NoSuchOwner."""
    category = _COMPONENTS.get(component)
    rules = FilePermissionRule.objects.filter(category=category) if category else FilePermissionRule.objects.none()
    found = []
    for rule in rules:
        user, group = ids_of(rule)
        found.append({
            "pattern": rule.pattern, "recursive": rule.recursive, "user": user, "group": group,
            "file_mode": int(rule.file_mode, 8) if rule.file_mode else None,
            "folder_mode": int(rule.folder_mode, 8) if rule.folder_mode else None,
        })  # fmt: skip
    return found


def ids_of(rule: FilePermissionRule) -> tuple[int | None, int | None]:
    """Return the numbers of a rule's owner and group on this server.  NoSuchOwner, also for root."""
    user = _id(rule.owner, lambda name: pwd.getpwnam(name).pw_uid)
    group = _id(rule.group, lambda name: grp.getgrnam(name).gr_gid)
    return user, group


def _id(name: str, look_up: Any) -> int | None:
    if not name:
        return None
    try:
        number: int = look_up(name)
    except KeyError:
        raise NoSuchOwner(f"A file permission rule names “{name}”, which this server does not have.") from None
    if number == 0:
        raise NoSuchOwner("A file permission rule cannot give customers' files to root.")
    return number


def _pattern(text: str) -> str:
    plain = text.strip().strip("/")
    if not plain or len(plain) > 200 or "\0" in plain or ".." in plain.split("/"):
        raise Invalid("Write which paths the rule is about, such as public_html/** or *.php.")
    return plain


def _name(text: str) -> str:
    plain = text.strip()
    if plain and not _NAME(plain):
        raise Invalid("Owner and group are names of this server, such as www-data.")
    return plain


def _mode(text: str) -> str:
    plain = text.strip()
    if plain and not _MODE(plain):
        raise Invalid("Permissions are three octal digits, such as 640; special bits cannot be given.")
    return plain[-3:]
