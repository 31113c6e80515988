"""The snapshot engine: chunked, deduplicated, compressed, encrypted, in restic's repository format.

Everything outside the engine imports from here; its modules are its own affair.
"""

from backups.engine.errors import (
    BadRequest,
    BlobMissing,
    Canceled,
    Corrupt,
    EngineError,
    KeyRejected,
    Locked,
    LockLost,
    NothingToSave,
    RepositoryExists,
    RepositoryMissing,
    SnapshotMissing,
    SourceProblem,
    TargetProblem,
    Unsupported,
    WrongKey,
)
from backups.engine.ports import CancelToken, Entry, EntryKind, Progress, Silent, Source, SourceFile, SourceFolder

__all__ = [
    "BadRequest",
    "BlobMissing",
    "CancelToken",
    "Canceled",
    "Corrupt",
    "EngineError",
    "Entry",
    "EntryKind",
    "KeyRejected",
    "LockLost",
    "Locked",
    "NothingToSave",
    "Progress",
    "RepositoryExists",
    "RepositoryMissing",
    "Silent",
    "SnapshotMissing",
    "Source",
    "SourceFile",
    "SourceFolder",
    "SourceProblem",
    "TargetProblem",
    "Unsupported",
    "WrongKey",
]
