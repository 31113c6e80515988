"""Where a request comes from, seen through as many proxies as the settings say and not one more."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings


def client_address(request: Any) -> str | None:
    """Return the caller's address; None if it is not known.

    With N proxies it is the N-th from the right of ``X-Forwarded-For``: what stands left of it, anybody can write.
    """
    peer = _plain(request.META.get("REMOTE_ADDR"))
    proxies = settings.PROXIES
    if not proxies:
        return peer
    chain = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    return _plain(chain[-proxies]) if len(chain) >= proxies else peer


def _plain(text: str | None) -> str | None:
    try:
        address = ipaddress.ip_address((text or "").strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
