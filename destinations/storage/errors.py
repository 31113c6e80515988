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


# Finer causes: what a test of a destination tells apart.  Each is also one of the families above.


class HostUnknown(StoreUnreachable):
    """The name of the host does not resolve."""

    code = "HF-STORE-HOST"
    guidance = "Check the spelling of the host name and the name servers of this machine."
    temporary = False


class PortClosed(StoreUnreachable):
    """The host answered that nothing listens on this port."""

    code = "HF-STORE-PORT"
    guidance = "Check the port number, and that the service runs and its firewall lets this machine in."


class TimedOut(StoreUnreachable):
    """There was no answer within the connection timeout."""

    code = "HF-STORE-TIMEOUT"
    guidance = "Check host, port and firewall; raise the connection timeout on a poor link."


class ServerBusy(StoreUnreachable):
    """The server answers that it has too many connections or requests just now."""

    code = "HF-STORE-BUSY"
    guidance = "Lower the number of concurrent connections of this destination."


class AddressForbidden(BadConfig):
    """The host is on a network that this destination may not reach."""

    code = "HF-STORE-ADDRESS"
    guidance = "Use a public host, or ask an administrator to allow this network."


class LoginRefused(AccessDenied):
    """User and password were refused."""

    code = "HF-STORE-LOGIN"
    guidance = "Check user name and password, and that this user may log in over this protocol."


class KeyRefused(AccessDenied):
    """The key (of SSH, or the access key of S3) was refused."""

    code = "HF-STORE-KEY"
    guidance = "Check that the key belongs to this user and is still valid on the server."


class FolderNotWritable(AccessDenied):
    """The folder can be read but not written."""

    code = "HF-STORE-FOLDER"
    guidance = "Give the user the right to write in the backup folder."


class ObjectProtected(AccessDenied):
    """A retention lock of the storage keeps this object from being changed or deleted."""

    code = "HF-STORE-PROTECTED"
    guidance = "Wait until the retention time ends; locks/ must never be under retention."


class FingerprintUnknown(BadConfig):
    """The server's identity has not been confirmed yet; ``fingerprint`` is what it shows."""

    code = "HF-STORE-FINGERPRINT-NEW"
    guidance = "Compare the fingerprint with the server's own, and confirm it."

    def __init__(self, message: str, *, fingerprint: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class FingerprintMismatch(BadConfig):
    """The server shows another identity than the confirmed one; ``fingerprint`` is what it shows now."""

    code = "HF-STORE-FINGERPRINT"
    guidance = "Ask the server's administrator whether its key was changed; if not, somebody is in between."

    def __init__(self, message: str, *, fingerprint: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class TlsFailed(BadConfig):
    """The server does not offer TLS, or no common version."""

    code = "HF-STORE-TLS"
    guidance = "Check that the server offers TLS on this port, or switch the secure connection off."


class CertificateExpired(BadConfig):
    """The server's certificate has expired, or is not valid yet."""

    code = "HF-STORE-CERT-EXPIRED"
    guidance = "Have the certificate renewed, and check the clocks of both machines."


class CertificateUntrusted(BadConfig):
    """The server's certificate does not lead to a trusted authority, or is for another name."""

    code = "HF-STORE-CERT"
    guidance = "Use the host name of the certificate, add its authority, or pin its fingerprint."


class BucketMissing(BadConfig):
    """There is no bucket of this name."""

    code = "HF-STORE-BUCKET"
    guidance = "Check the bucket's name and the endpoint, or create the bucket."


class RegionWrong(BadConfig):
    """The bucket lives in another region than the configured one."""

    code = "HF-STORE-REGION"
    guidance = "Set the region that the message names, or the one the provider shows for the bucket."


class ClockSkew(BadConfig):
    """The server refuses because the clocks differ too much."""

    code = "HF-STORE-CLOCK"
    guidance = "Set the clock of this machine by NTP."


class QuotaExceeded(StoreFull):
    """The disk has room, but this user's share is used up."""

    code = "HF-STORE-QUOTA"
    guidance = "Raise the user's quota on the server, or run a cleanup with fewer snapshots kept."


class DiskLimitReached(StoreFull):
    """The destination is fuller than its configured limit allows for new backups."""

    code = "HF-STORE-DISKLIMIT"
    guidance = "Free space on the destination, or raise its disk limit."


class TransferDamaged(StoreError):
    """What arrived is not what was sent."""

    code = "HF-STORE-DAMAGED"
    guidance = "Use TLS, SFTP or S3; if it comes again, the server's disk or memory is bad."
    temporary = True


class CapacityUnknown(StoreError):
    """The server cannot say how much room it has."""

    code = "HF-STORE-CAPACITY"
    guidance = "Nothing to do; a disk limit cannot be kept on this server."
