"""init, apart from everything that reads and writes data: it should be there at once."""

from __future__ import annotations

from backups.engine import keys
from backups.engine.cli.session import Session
from backups.engine.errors import BadRequest
from backups.engine.repository import Repository


def init(session: Session) -> int:
    """Make a new repository."""
    args = session.args
    polynomial = None
    if args.copy_chunker_params:
        if not args.from_repo:
            raise BadRequest("--copy-chunker-params needs --from-repo and --from-password-file")
        other = session.open_source()
        polynomial = int(other.config.chunker_polynomial, 16)
        other.close()
    version = {"stable": 2, "latest": 2, "1": 1, "2": 2}.get(args.repository_version)
    if version is None:
        raise BadRequest(f"there is no repository version {args.repository_version!r}; use 1 or 2")
    params = keys.calibrate() if args.calibrate_key else keys.KdfParams()
    store = session.wiring.open_store(args.repo)
    repository = Repository.create(store, session.password(), version=version, polynomial=polynomial, params=params)
    session.console.line(f"created repository {repository.id[:10]} (version {version}) at {args.repo}")
    session.console.line("Keep the password: without it nothing in this repository can be read again.")
    if session.console.json:
        session.console.record({"message_type": "initialized", "id": repository.id, "repository": args.repo})
    repository.close()
    return 0
