"""Everything the engine raises, with a stable code and the next step."""

from __future__ import annotations


class EngineError(Exception):
    """Base of all engine errors.  ``code`` is stable and documented; ``exit_code`` is what the command line returns."""

    code = "HF-ENGINE-FAILED"
    guidance = "Read the log of this run; the line before this one names the step."
    exit_code = 1


class RepositoryMissing(EngineError):
    """There is no repository at this place."""

    code = "HF-REPO-MISSING"
    guidance = "Check the path, or create the repository with init."
    exit_code = 10


class RepositoryExists(EngineError):
    """A config is there already; an existing repository is never overwritten."""

    code = "HF-REPO-EXISTS"
    guidance = "Use the existing repository with its key, or choose another path."


class WrongKey(EngineError):
    """No key of the repository opens with this password."""

    code = "HF-REPO-KEY"
    guidance = "Give the password the repository was created with, or one added since."
    exit_code = 12


class KeyRejected(EngineError):
    """A key file that cannot be used: unknown derivation, bad salt, or parameters beyond the safe bounds."""

    code = "HF-REPO-KEYFILE"
    guidance = "Remove or replace the named file in keys/; it can lock every program out."


class Locked(EngineError):
    """Another program holds a lock that excludes this operation."""

    code = "HF-REPO-LOCKED"
    guidance = "Wait for the other program, or remove a stale lock with unlock."
    exit_code = 11


class LockLost(EngineError):
    """Our own lock could not be refreshed in time, so writing had to stop."""

    code = "HF-REPO-LOCKLOST"
    guidance = "Check the connection to the storage; the next run goes on from what was stored."
    exit_code = 11


class Corrupt(EngineError):
    """An object is damaged: it does not authenticate, decode, or match its name."""

    code = "HF-REPO-DAMAGED"
    guidance = "Run check, then repair index, a new backup, and repair snapshots."

    def __init__(self, message: str, *, kind: str = "", object_id: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.object_id = object_id


class BlobMissing(Corrupt):
    """A blob that something refers to is in no pack the index knows."""

    code = "HF-REPO-BLOBMISSING"


class Unsupported(EngineError):
    """The repository asks for something this engine does not do."""

    code = "HF-REPO-UNSUPPORTED"
    guidance = "Use a newer version of this program."


class BadRequest(EngineError):
    """The caller asked for something impossible: no such snapshot, a wrong rule, an unknown path."""

    code = "HF-REQUEST"
    guidance = "Correct the request; the message says what was wrong with it."


class TooMany(EngineError):
    """A snapshot of more items than are taken at one time; a hostile one can seem to have any number."""

    code = "HF-TOO-MANY"
    guidance = "Choose single folders of it. An administrator can restore it with the command line, which has no bound."


class SnapshotMissing(BadRequest):
    """No snapshot answers to this id or filter."""

    code = "HF-SNAPSHOT-MISSING"
    guidance = "List the snapshots and give an id from the list."


class SourceProblem(EngineError):
    """An item of the source could not be read as it was listed.  Reported per item; the run ends incomplete."""

    code = "HF-SOURCE"
    guidance = "See the named path; the next run tries it again."
    exit_code = 3


class NothingToSave(BadRequest):
    """No source could be read at all; an empty snapshot is refused."""

    code = "HF-SOURCE-EMPTY"
    guidance = "Check that the paths exist and may be read."


class TargetProblem(EngineError):
    """An item could not be restored.  Reported per item; the run ends failed."""

    code = "HF-TARGET"
    guidance = "See the named path: space, rights, or something in the way."


class Canceled(EngineError):
    """The run was asked to stop and has cleaned up."""

    code = "HF-CANCELED"
    guidance = "Start it again; what was stored is used."
    exit_code = 130
