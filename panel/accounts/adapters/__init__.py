"""Where hosting accounts come from: one small interface that a hosting panel implements.

An adapter only reads.  It lists accounts, tells about one, and says which folders a restore may write to *now*; disk
and inode usage are measured by us (:mod:`panel.accounts.usage`), because not every panel tells them.
"""

from __future__ import annotations

from panel.accounts.adapters.base import HostingAccount, HostingAdapter
from panel.accounts.adapters.system import SystemUsers

__all__ = ["HostingAccount", "HostingAdapter", "SystemUsers", "adapter"]


def adapter() -> HostingAdapter:
    """Return the adapter of this server."""
    return SystemUsers()
