"""Wrappers: stores around stores, each adding one concern."""

from destinations.storage.wrappers.bandwidth import BandwidthStore
from destinations.storage.wrappers.diskguard import DiskGuardedStore
from destinations.storage.wrappers.limited import LimitedStore
from destinations.storage.wrappers.metered import MeteredStore
from destinations.storage.wrappers.prefixed import PrefixedStore
from destinations.storage.wrappers.readonly import WriteProtectedStore
from destinations.storage.wrappers.retrying import RetryingStore

__all__ = [
    "BandwidthStore",
    "DiskGuardedStore",
    "LimitedStore",
    "MeteredStore",
    "PrefixedStore",
    "RetryingStore",
    "WriteProtectedStore",
]
