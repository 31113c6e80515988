"""TLS with the errors told apart: expired, not trusted, another name, another certificate than the pinned one."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from functools import lru_cache
from socket import socket

from destinations.storage.errors import (
    BadConfig,
    CertificateExpired,
    CertificateUntrusted,
    FingerprintMismatch,
    StoreError,
    StoreUnreachable,
    TimedOut,
    TlsFailed,
)

_EXPIRED = {9, 10}
_OTHER_NAME = {62, 64}
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@lru_cache(maxsize=64)
def context_for(*, verify: bool, ca: str, pins: tuple[str, ...]) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or newer, verified by the system's authorities or those in ``ca`` (PEM).

    With ``pins`` (SHA-256 of certificates, hex) the chain is not asked: :func:`check_pins` decides.
    """
    for pin in pins:
        normal_pin(pin)
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise BadConfig("the certificate authority is not a PEM certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pins or not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def normal_pin(pin: str) -> str:
    """Return a certificate fingerprint as 64 hex digits; openssl's way to write it is allowed on the way in."""
    text = pin.strip().lower().removeprefix("sha256").strip(" :").removeprefix("fingerprint=")
    text = text.replace(":", "").replace(" ", "")
    if not _FINGERPRINT.fullmatch(text):
        raise BadConfig("a pinned certificate is given as the 64 hex digits of its SHA-256 fingerprint")
    return text


def fingerprint_of(connection: ssl.SSLSocket) -> str:
    """Return the SHA-256 of the server's certificate, hex."""
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def check_pins(connection: ssl.SSLSocket, pins: tuple[str, ...], place: str) -> None:
    """Raise FingerprintMismatch unless the server's certificate is one of ``pins``; none pinned = fine."""
    if not pins:
        return
    shown = fingerprint_of(connection)
    if not any(hmac.compare_digest(normal_pin(pin), shown) for pin in pins):
        text = f"{place} shows the certificate {shown}, which is not the pinned one"
        raise FingerprintMismatch(text, fingerprint=shown)


def secured(connection: socket, context: ssl.SSLContext, host: str, pins: tuple[str, ...], place: str) -> ssl.SSLSocket:
    """Return ``connection`` after the handshake; closes it and raises one of our errors if that fails."""
    try:
        wrapped = context.wrap_socket(connection, server_hostname=host)
    except (OSError, EOFError, ValueError) as error:
        connection.close()
        raise tls_error(error, place) from error
    try:
        check_pins(wrapped, pins, place)
    except StoreError:
        wrapped.close()
        raise
    return wrapped


def tls_error(error: Exception, place: str) -> StoreError:
    """Return the error of ours for what went wrong in a TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _EXPIRED:
            return CertificateExpired(f"{place}: the certificate has expired or is not valid yet")
        if error.verify_code in _OTHER_NAME:
            return CertificateUntrusted(f"{place}: the certificate is for another host name")
        return CertificateUntrusted(f"{place}: the certificate does not lead to a trusted authority")
    if isinstance(error, TimeoutError):
        return TimedOut(f"{place} did not answer in time")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return StoreUnreachable(f"{place}: the connection broke while it was being secured")
    if isinstance(error, ssl.SSLError):
        return TlsFailed(f"{place}: no TLS connection ({error.reason or 'unknown reason'})")
    return StoreUnreachable(f"{place}: the connection broke while it was being secured")
