"""What steps and errors of a test are called on the page, and what a customer may read of them."""

from __future__ import annotations

from typing import Any

STEPS = {
    "read the settings": ("Read the settings", "The settings cannot be used"),
    "resolve the name": ("Find the address of the host", "The host was not found"),
    "install a key": ("Install a key of ours", "The key was not installed"),
    "connect": ("Connect", "The server was not reached"),
    "secure": ("Switch to TLS", "The connection could not be secured"),
    "check the identity": ("Check the server's identity", "The server's identity is not confirmed"),
    "log in": ("Log in", "The server did not let us in"),
    "open SFTP": ("Open SFTP", "The server offers no SFTP to this user"),
    "list": ("List", "Listing did not work"),
    "write": ("Write a file", "The server did not accept the test file"),
    "read back": ("Read it back and compare", "The test file did not come back"),
    "read a range": ("Read a range", "Reading a part of a file did not work"),
    "replace by rename": ("Replace it in one step", "Replacing a file did not work"),
    "list after write": ("List after writing", "What was written is not listed"),
    "several at once": ("Several connections at once", "Several connections at once did not work"),
    "speed": ("Measure the speed", "The larger file did not go through"),
    "delete": ("Delete it", "The test files could not be deleted"),
    "object lock": ("Object lock", "Object lock could not be asked for"),
    "free space": ("Free space", "The free space could not be asked for"),
}
"""Step → its name on the page, and the consequence if it fails."""

_NETWORK = {
    "HF-STORE-UNREACHABLE", "HF-STORE-HOST", "HF-STORE-PORT", "HF-STORE-TIMEOUT", "HF-STORE-ADDRESS",
}  # fmt: skip


def step_name(name: str) -> str:
    """Return what the page calls a step."""
    return STEPS.get(name, (name.capitalize(), ""))[0]


def headline(step: dict[str, Any]) -> str:
    """Return the consequence of a failed step, in a few words."""
    if step.get("code") == "HF-STORE-FINGERPRINT":
        return "The server shows another identity than the confirmed one"
    return STEPS.get(step["name"], ("", f"“{step['name']}” failed"))[1]


def for_customer(result: dict[str, Any]) -> dict[str, Any]:
    """Return a step's result without what would tell a customer about the networks of this server."""
    if result.get("code") in _NETWORK:
        return result | {
            "detail": "the server cannot be reached from here",
            "code": "HF-STORE-UNREACHABLE",
            "guidance": "Check host and port; private networks have to be allowed by the administrator.",
        }
    return result
