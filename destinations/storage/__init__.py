"""Object stores: one interface, several drivers, and wrappers that add one concern each."""

from destinations.storage.base import (
    Buffer,
    Capabilities,
    Data,
    HashesServerSide,
    ObjectInfo,
    ObjectStore,
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
    StoreUnreachable,
)

__all__ = [
    "AccessDenied",
    "BadConfig",
    "Buffer",
    "Capabilities",
    "Data",
    "HashesServerSide",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectStore",
    "PreparesFolders",
    "ReadOnlyStore",
    "ReportsCapacity",
    "ShortRead",
    "StoreError",
    "StoreFull",
    "StoreUnreachable",
]
