"""Settings about signing in and about mail."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from panel.core.errors import Invalid
from panel.options.setting import Setting

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[?[0-9a-f:]{2,39}\]?", re.IGNORECASE).fullmatch
_ADDRESS = re.compile(r"[^@\s<>,;\"]{1,64}@[a-z0-9.-]{1,253}", re.IGNORECASE).fullmatch


def checked_url(text: str) -> str:
    """Return the address of a panel without a trailing slash.  Invalid."""
    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment
        wrong = wrong or parts.username is not None or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong:
        raise Invalid("Write an address like https://backup.example.com.")
    return text.rstrip("/")


def checked_host(text: str) -> str:
    """Return the name of a host.  Invalid."""
    if not _HOST(text):
        raise Invalid("Write a host name like mail.example.com, or an address.")
    return text.lower()


def checked_mail(text: str) -> str:
    """Return a mail address.  Invalid."""
    if not _ADDRESS(text):
        raise Invalid("Write an address like backup@example.com.")
    return text


PEOPLE = (
    Setting(
        "panel_url", "general", "Address of this panel", "",
        "Begins the links in mails and those that other panels ask for. Empty: the address a request came by.",
        check=checked_url,
    ),
    Setting(
        "forgot_password", "security", "People may ask for a new password", True,
        "The sign-in page offers it when mail is set up. Off: only an administrator gives a new one.",
    ),
    Setting(
        "session_days", "security", "Stay signed in for", 14,
        "Then the browser signs in again.", "days", 1, 90,
    ),
    Setting(
        "admin_two_factor", "security", "Administrators need two-factor sign-in", False,
        "An administrator without it sees only the page that sets it up.",
    ),
    Setting(
        "mail_host", "mail", "Mail server", "",
        "Sends invitations and password resets. Empty: links are shown to you instead, to pass on.",
        check=checked_host,
    ),
    Setting("mail_port", "mail", "Port", 587, "Usually 587 with STARTTLS, 465 with TLS, 25 without.", "", 1, 65535),
    Setting(
        "mail_security", "mail", "Encryption", "starttls",
        "Without encryption the password and every link can be read on the way.",
        choices=(("starttls", "STARTTLS"), ("tls", "TLS from the start"), ("none", "None")),
    ),
    Setting(
        "mail_verify", "mail", "Check the server's certificate", True,
        "Off: anybody between here and there can pretend to be the mail server.",
    ),
    Setting("mail_user", "mail", "User name", "", "Empty: no sign-in at the mail server."),
    Setting(
        "mail_password", "mail", "Password", "",
        "Stored sealed; only workers can open it. Empty leaves the present one.", secret=True,
    ),
    Setting("mail_from", "mail", "Sender", "", "The address that mails come from.", check=checked_mail),
    Setting("mail_timeout", "mail", "Wait for the mail server", 20, "", "seconds", 1, 120),
)  # fmt: skip
