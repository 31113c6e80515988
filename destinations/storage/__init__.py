"""Object stores: one interface, several drivers, and wrappers that add one concern each."""

from destinations.storage.base import (
    AcceptsPace,
    Buffer,
    Capabilities,
    Data,
    HashesServerSide,
    ObjectInfo,
    ObjectStore,
    Pace,
    PreparesFolders,
    ReportsCapacity,
)
from destinations.storage.errors import (
    AccessDenied,
    BadConfig,
    ObjectMissing,
    ReadOnlyStore,
    ShortRead,
    StoreError,
    StoreFull,
    StoreGone,
    StoreUnreachable,
)

__all__ = [
    "AcceptsPace",
    "AccessDenied",
    "BadConfig",
    "Buffer",
    "Capabilities",
    "Data",
    "HashesServerSide",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectStore",
    "Pace",
    "PreparesFolders",
    "ReadOnlyStore",
    "ReportsCapacity",
    "ShortRead",
    "StoreError",
    "StoreFull",
    "StoreGone",
    "StoreUnreachable",
]
