"""Errors that reach a person: a stable code, a status, and the next step."""

from __future__ import annotations


class PanelError(Exception):
    """Base of the panel's own errors.  The text is a whole sentence for the person who asked."""

    code = "HF-PANEL"
    status = 400
    guidance = ""


class NotAllowed(PanelError):
    """The person may see the thing but not do this to it."""

    code = "HF-NOT-ALLOWED"
    status = 403
    guidance = "Ask the administrator of this server."


class WrongPassword(NotAllowed):
    """The password that was asked for again is not the person's own."""

    code = "HF-PASSWORD"
    guidance = "It is the password that you sign in here with."

    def __init__(self, text: str = "The password is wrong.") -> None:
        super().__init__(text)


class Conflict(PanelError):
    """The state of the thing does not allow it now."""

    code = "HF-CONFLICT"
    status = 409


class Invalid(PanelError):
    """What was given cannot be used."""

    code = "HF-INVALID"
    status = 422


class Unavailable(PanelError):
    """A part that is needed does not answer."""

    code = "HF-UNAVAILABLE"
    status = 503
    guidance = "Try again in a minute; the System page shows what is not running."
