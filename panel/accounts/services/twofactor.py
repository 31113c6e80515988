"""The second step of signing in: six digits of an app (TOTP), or one of ten codes on paper."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from panel.accounts.models import User
from panel.audit.services import record
from panel.core.errors import Invalid

_STEP = 30
_SECRET_BYTES = 20
_CODES = 10


def new_secret() -> str:
    """Return a new secret as apps take it, in base 32."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def app_address(secret: str, user: User) -> str:
    """Return the address that sets up an app."""
    return _totp(secret).get_provisioning_uri(user.username, "Holdfast")


def switch_on(user: User, secret: str, code: str, *, actor: Any) -> list[str]:
    """Ask for codes from now on; return ten codes for paper, shown once.  Invalid if ``code`` does not fit."""
    step = _matching(secret, code, after=0)
    if not step:
        raise Invalid("This code does not fit. Check the clock of the telephone, and write the newest code.")
    codes = ["-".join((secrets.token_hex(3), secrets.token_hex(3))) for _ in range(_CODES)]
    with transaction.atomic():
        user.totp_secret, user.totp_since, user.totp_step = (
            _box().encrypt(secret.encode()).decode(),
            timezone.now(),
            step,
        )
        user.recovery_codes = [_digest(code) for code in codes]
        user.save(update_fields=["totp_secret", "totp_since", "totp_step", "recovery_codes"])
        record("two_factor.on", actor=actor, subject=f"user:{user.username}")
    return codes


def switch_off(user: User, *, actor: Any) -> None:
    """Ask for the password alone again."""
    with transaction.atomic():
        user.totp_secret, user.totp_since, user.recovery_codes = "", None, []
        user.save(update_fields=["totp_secret", "totp_since", "recovery_codes"])
        record("two_factor.off", actor=actor, subject=f"user:{user.username}")


def passes(user: User, code: str) -> bool:
    """Tell whether a code is right now, and use it up: none works twice."""
    plain = code.strip().replace(" ", "")
    if plain.isdecimal():
        step = _matching(_open(user), plain, after=user.totp_step)
        return bool(step and User.objects.filter(pk=user.pk, totp_step__lt=step).update(totp_step=step))
    return _use_paper_code(user.pk, _digest(plain.lower()))


def _use_paper_code(number: int, digest: str) -> bool:
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=number)
        left = [each for each in user.recovery_codes if not hmac.compare_digest(each, digest)]
        if len(left) == len(user.recovery_codes):
            return False
        user.recovery_codes = left
        user.save(update_fields=["recovery_codes"])
        record("two_factor.paper_code", actor=user, left=len(left))
    return True


def _matching(secret: str, code: str, *, after: int) -> int:
    if not secret or not code.isdecimal():
        return 0
    totp, step = _totp(secret), int(time.time()) // _STEP
    for candidate in (step, step - 1, step + 1):
        right = totp.generate(candidate * _STEP)
        if candidate > after and hmac.compare_digest(right, code.encode()):
            return candidate
    return 0


def _totp(secret: str) -> TOTP:
    return TOTP(base64.b32decode(secret), 6, SHA1(), _STEP)  # noqa: S303 - what every app speaks


def _open(user: User) -> str:
    try:
        return _box().decrypt(user.totp_secret.encode()).decode()
    except InvalidToken:
        return ""


def _box() -> Fernet:
    raw = HKDF(SHA256(), 32, salt=None, info=b"holdfast two-factor").derive(settings.SECRET_KEY.encode())
    return Fernet(base64.urlsafe_b64encode(raw))


def _digest(code: str) -> str:
    return hashlib.sha256(f"holdfast {settings.SECRET_KEY} {code}".encode()).hexdigest()
