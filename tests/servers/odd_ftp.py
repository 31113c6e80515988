"""An FTP server with the habits of old Windows servers.

Arguments: port, folder, user, password, then switches: ``mlsd`` (offer it), ``rename`` (rename over files),
``hash`` (offer XSHA256), ``no-rest`` (refuse REST), ``pasv-elsewhere`` (name another host in PASV), ``nlst-only``
(print listings nobody knows), ``taken-port`` (every other passive port is another session's already).
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.filesystems import AbstractedFS, FilesystemError
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer


def main(port: int, home: str, user: str, password: str, switches: set[str]) -> None:
    class Windows(AbstractedFS):
        def format_list(self, basedir, listing, ignore_err=True):
            for name in listing:
                path = Path(basedir, name)
                try:
                    found = path.stat()
                except OSError:
                    continue
                when = time.strftime("%m-%d-%y  %I:%M%p", time.localtime(found.st_mtime))
                what = "<DIR>         " if path.is_dir() else f"{found.st_size:>20}"
                line = f"{when}       {what} {name}\r\n"
                yield (f"?{name}?\r\n" if "nlst-only" in switches else line).encode()

        def rename(self, src, dst):
            if "rename" not in switches and Path(dst).exists():
                raise FilesystemError("Cannot create a file when that file already exists.")
            super().rename(src, dst)

    class Handler(FTPHandler):
        banner = "Microsoft FTP Service"
        abstracted_fs = Windows
        use_sendfile = False

        def ftp_XSHA256(self, path):
            self.respond("250 " + hashlib.sha256(Path(path).read_bytes()).hexdigest().upper())

        def ftp_PASV(self, line):
            self.drawn = getattr(self, "drawn", 0) + 1
            if "taken-port" in switches and self.drawn % 2:
                return self.respond("425 Unable to identify the local data socket: Address already in use")
            if "pasv-elsewhere" in switches:
                self.masquerade_address = "192.0.2.1"
            return super().ftp_PASV(line)

    commands = dict(FTPHandler.proto_cmds)
    if "mlsd" not in switches:
        for name in ("MLSD", "MLST"):
            commands.pop(name)
    if "no-rest" in switches:
        commands.pop("REST")
    if "hash" in switches:
        commands["XSHA256"] = {"perm": "r", "auth": True, "arg": True, "help": "Syntax: XSHA256 <SP> file"}
        original = FTPHandler.ftp_FEAT

        def ftp_FEAT(self, line):
            self._extra_feats = ["XSHA256", *getattr(self, "_extra_feats", [])]
            return original(self, line)

        Handler.ftp_FEAT = ftp_FEAT
    Handler.proto_cmds = commands
    authorizer = DummyAuthorizer()
    authorizer.add_user(user, password, home, perm="elradfmwMT")
    Handler.authorizer = authorizer
    ThreadedFTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5], set(sys.argv[5:]))
