"""Why things fail: for each stable code of an error the cause in a sentence."""

from __future__ import annotations

_CAUSES = {
    "HF-CANCELED": "Somebody pressed Cancel, or a new run replaced this one.",
    "HF-WORKER-LOST": "The process that did the work was killed, or the server was restarted, twice in a row.",
    "HF-ENGINE-DIED": "The engine's process ended without an answer, most often because memory ran out.",
    "HF-ENGINE-FAILED": "The engine met something it has no answer for; that is a fault of this program.",
    "HF-ENGINE-WORKER": "A helper process of the engine ended early, most often because memory ran out.",
    "HF-PANEL": "The panel itself failed; that is a fault of this program.",
    "HF-OS": "The operating system refused a file operation.",
    "HF-REPO-MISSING": "The destination answers, but there is no repository at this place.",
    "HF-REPO-EXISTS": "There is a repository at this place already.",
    "HF-REPO-KEY": "A repository is there already, and none of the known keys opens it.",
    "HF-REPO-KEYFILE": "The key files of the repository cannot be used.",
    "HF-REPO-LOCKED": "Another program works on the repository, or one ended without taking its lock away.",
    "HF-REPO-LOCKLOST": "The lock was taken away while this ran, so going on would not have been safe.",
    "HF-REPO-DAMAGED": "Stored data differ from what was written: the storage lost or changed them.",
    "HF-REPO-BLOBMISSING": "A piece of data that a snapshot needs is not in the repository.",
    "HF-REPO-UNSUPPORTED": "The repository was written in a version of the format that is not known here.",
    "HF-SNAPSHOT-MISSING": "The snapshot was removed, by a cleanup or by another program.",
    "HF-SOURCE": "Some files could not be read: rights, files that changed while they were read, or a bad disk.",
    "HF-SOURCE-EMPTY": "There was nothing to back up at the given places.",
    "HF-TARGET": "Files could not be written back: rights, quota, or something in the way.",
    "HF-TARGET-FULL": "The disk that is restored to has no space left.",
    "HF-STORE-UNREACHABLE": "The destination's server does not answer: network, firewall, name, or it is down.",
    "HF-STORE-HOST": "The name of the destination's server is not known.",
    "HF-STORE-PORT": "Nothing listens at this port of the destination's server.",
    "HF-STORE-TIMEOUT": "The destination's server took too long to answer.",
    "HF-STORE-BUSY": "The destination's server has too many connections or requests at the moment.",
    "HF-STORE-ADDRESS": "The address lies in a private network, which customers' destinations may not reach.",
    "HF-STORE-LOGIN": "The destination's server refused the user name or the password.",
    "HF-STORE-KEY": "The destination's server refused the key.",
    "HF-STORE-FOLDER": "The folder is not there, or cannot be made.",
    "HF-STORE-DENIED": "The account at the destination may not do this.",
    "HF-STORE-PROTECTED": "The storage does not let this be changed or deleted.",
    "HF-STORE-READONLY": "The destination is for reading only.",
    "HF-STORE-FULL": "The destination has no space left.",
    "HF-STORE-QUOTA": "The quota at the destination is used up.",
    "HF-STORE-CAPACITY": "The storage takes no more objects for now.",
    "HF-STORE-DISKLIMIT": "The destination's disk limit keeps new data out.",
    "HF-STORE-GONE": "What was a repository before is empty now: another disk may be mounted there.",
    "HF-STORE-DAMAGED": "What was read back differs from what was written.",
    "HF-STORE-FINGERPRINT": "The server shows another key than before: it was set up anew, or somebody is in between.",
    "HF-STORE-FINGERPRINT-NEW": "The server's key was not confirmed yet.",
    "HF-STORE-TLS": "No safe connection could be made to the server.",
    "HF-STORE-CERT": "The server's certificate is not trusted here.",
    "HF-STORE-CERT-EXPIRED": "The server's certificate has expired.",
    "HF-STORE-BUCKET": "The bucket is not there, or not in this region.",
    "HF-STORE-REGION": "The bucket lies in another region.",
    "HF-STORE-CLOCK": "The clock of this server differs from that of the storage.",
    "HF-SEAL": "A stored secret was closed with another master key, or is damaged.",
}


def cause(code: str) -> str:
    """Return why errors of this code come; a plain admission for one that is not known."""
    return _CAUSES.get(code, "The cause is not known. The log has the details.")
