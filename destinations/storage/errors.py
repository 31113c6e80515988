"""What can go wrong with an object store, whatever its kind.

Drivers translate their vendor's errors into these at the edge; only :class:`StoreError` and its
children cross the storage boundary.  ``temporary`` says whether repeating the call may help; the
retry wrapper is the only place that acts on it.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of all storage errors.

    ``code`` is stable and documented, ``guidance`` is the next step for an administrator.  The text
    never holds a secret.
    """

    code = "HF-STORE-FAILED"
    guidance = "Run the destination's test; its report names the step that fails."
    temporary = False

    def __init__(self, message: str, *, key: str = "", temporary: bool | None = None) -> None:
        super().__init__(message)
        self.key = key
        if temporary is not None:
            self.temporary = temporary


class ObjectMissing(StoreError):
    """There is no object under this key."""

    code = "HF-STORE-MISSING"
    guidance = "Run an integrity check; it lists what else is missing."


class ShortRead(StoreError):
    """The object ends before offset + length: it is truncated, or the transfer was cut."""

    code = "HF-STORE-SHORT"
    guidance = "Run an integrity check; a truncated object is replaced by the next backup."


class AccessDenied(StoreError):
    """The storage refused the credentials or the operation."""

    code = "HF-STORE-DENIED"
    guidance = "Check user, password or key, and the rights on the folder or bucket."


class StoreFull(StoreError):
    """No space, or the quota is used up."""

    code = "HF-STORE-FULL"
    guidance = "Free space, raise the quota, or run a cleanup with fewer snapshots kept."


class StoreUnreachable(StoreError):
    """No connection, or it broke."""

    code = "HF-STORE-UNREACHABLE"
    guidance = "Check host, port, firewall and that the server is up."
    temporary = True


class StoreGone(StoreUnreachable):
    """The server did not answer for so long that calls are no longer tried.

    ``since`` is when the last working stretch ended, in seconds of the Unix epoch.
    """

    code = "HF-STORE-GONE"
    guidance = "Bring the server or the network back; the destination is tried again by itself."
    temporary = False

    def __init__(self, message: str, *, key: str = "", since: float) -> None:
        super().__init__(message, key=key)
        self.since = since


class ReadOnlyStore(StoreError):
    """A write was asked of a destination that is read-only."""

    code = "HF-STORE-READONLY"
    guidance = "Choose another destination, or switch its read-only setting off."


class BadConfig(StoreError):
    """The configuration cannot work: a wrong host name, path, bucket or option."""

    code = "HF-STORE-CONFIG"
    guidance = "Correct the destination's settings and test it."
