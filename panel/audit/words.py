"""What an entry of the audit log says to a person."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "signed_in": "Signed in", "signed_out": "Signed out", "sessions.ended": "Ended sessions",
    "user.created": "Added a user", "user.changed": "Changed a user", "user.disabled": "Locked a user out",
    "user.enabled": "Let a user in again", "profile.changed": "Changed their own settings",
    "password.changed": "Changed their password", "password.chosen": "Chose a password by a link",
    "password.reset": "Reset a password at the shell", "password.forgotten": "Somebody asked for a new password",
    "link.invitation": "Made an invitation", "link.reset": "Made a link for a new password",
    "link.sso": "Made a sign-in link", "two_factor.on": "Switched two-factor sign-in on",
    "two_factor.off": "Switched two-factor sign-in off", "two_factor.paper_code": "Signed in with a code on paper",
    "acting.began": "Began to act as a user", "acting.ended": "Stopped acting as a user",
    "account.added": "Added an account", "account.changed": "Changed an account", "account.moved": "An account moved",
    "account.suspended": "Suspended an account", "account.resumed": "Resumed an account",
    "account.terminated": "Ended an account", "orphans.reassigned": "Gave orphans to another account",
    "package.created": "Made a package", "package.changed": "Changed a package",
    "package.deleted": "Removed a package", "priority.created": "Made a priority group",
    "priority.changed": "Changed a priority group", "priority.default": "Made a priority group the default",
    "priority.deleted": "Removed a priority group", "token.created": "Made an API token",
    "token.changed": "Changed an API token", "token.deleted": "Removed an API token",
    "settings.changed": "Changed a setting", "mail.tested": "Sent a test mail",
    "schedule.created": "Made a schedule", "schedule.changed": "Changed a schedule",
    "schedule.deleted": "Deleted a schedule", "schedule.enabled": "Switched a schedule on",
    "schedule.disabled": "Switched a schedule off", "schedule.run": "Started a schedule",
    "schedule.brought_back": "Brought a schedule back", "key.saved": "Noted that a key was saved",
    "key.shown": "Looked at a key", "key.refused": "Was refused a key", "key.tried": "Tried a key",
    "key.rotated": "Made a new key", "destination.saved": "Saved a destination",
    "destination.removed": "Removed a destination", "destination.tested": "Tested a destination",
    "destination.trusted": "Trusted a host key", "download.fetched": "Fetched a download",
    "download.removed": "Removed a download", "file.viewed": "Looked at a file", "history.cleared": "Cleared history",
    "retention.applied": "Retention marked snapshots", "cleanup.requested": "Started a cleanup",
    "integrity.requested": "Started an integrity check", "restore.requested": "Asked for a restore",
    "restore.undo": "Asked for an undo",
    "download.requested": "Asked for a download", "condition.created": "Made a restore condition",
    "condition.changed": "Changed a restore condition", "condition.deleted": "Removed a restore condition",
    "permission_rule.created": "Made a file permission rule",
    "permission_rule.changed": "Changed a file permission rule",
    "permission_rule.deleted": "Removed a file permission rule",
}  # fmt: skip


def kinds() -> list[str]:
    """Return the kinds of things that changes are about."""
    return sorted({action.partition(".")[0] for action in _WORDS if "." in action})


def sentence(event: Any) -> str:
    """Return the kind of an entry in words; one that is not known here reads like its code."""
    plain: str = event.action.replace(".", ": ").replace("_", " ")
    return _WORDS.get(event.action, plain[:1].upper() + plain[1:])
