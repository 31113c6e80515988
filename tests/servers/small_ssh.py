"""A small SSH server made of paramiko: log-in by password and by the keys in ``.ssh/authorized_keys`` as it is now.

Unlike OpenSSH it runs without an account of the system, announces no extensions, and does not rename over a file.
Arguments: port, host key file, folder, user, password.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import paramiko


class Login(paramiko.ServerInterface):
    home: Path
    user: str
    password: str

    def get_allowed_auths(self, username):
        return "password,publickey"

    def check_auth_password(self, username, password):
        right = (username, password) == (self.user, self.password)
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        file = self.home / ".ssh/authorized_keys"
        lines = file.read_text().splitlines() if file.exists() else []
        known = any(line.split()[1:2] == [key.get_base64()] for line in lines)
        return paramiko.AUTH_SUCCESSFUL if known and username == self.user else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


class Files(paramiko.SFTPServerInterface):
    home: Path

    def _real(self, path):
        return self.home / path.lstrip("/")

    def canonicalize(self, path):
        return "/" + os.path.normpath(path).lstrip("/").removeprefix(".")

    def list_folder(self, path):
        found = []
        try:
            for name in os.listdir(self._real(path)):
                with suppress(FileNotFoundError):
                    found.append(paramiko.SFTPAttributes.from_stat(os.lstat(self._real(path) / name), name))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return found

    def stat(self, path):
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path, flags, attr):
        try:
            file = os.open(self._real(path), flags, attr.st_mode or 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = paramiko.SFTPHandle(flags)
        stream = os.fdopen(file, "wb" if flags & os.O_WRONLY else "rb")
        handle.readfile = handle.writefile = stream
        handle.stat = lambda: paramiko.SFTPAttributes.from_stat(os.fstat(stream.fileno()))
        handle.chattr = lambda attr: os.fchmod(stream.fileno(), attr.st_mode) or paramiko.SFTP_OK
        return handle

    def _done(self, call, *arguments):
        try:
            call(*arguments)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return paramiko.SFTP_OK

    def remove(self, path):
        return self._done(os.remove, self._real(path))

    def rename(self, oldpath, newpath):
        if self._real(newpath).exists():
            return paramiko.SFTP_FAILURE
        return self._done(os.rename, self._real(oldpath), self._real(newpath))

    def posix_rename(self, oldpath, newpath):
        return paramiko.SFTP_OP_UNSUPPORTED

    def mkdir(self, path, attr):
        return self._done(os.mkdir, self._real(path), attr.st_mode or 0o700)

    def chattr(self, path, attr):
        return self._done(os.chmod, self._real(path), attr.st_mode) if attr.st_mode else paramiko.SFTP_OK


def serve(connection: socket.socket, key: paramiko.PKey) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    try:
        transport.start_server(server=Login())
        transport.join()
    except (paramiko.SSHException, EOFError, OSError):
        transport.close()


def main(port: int, key_file: str, home: str, user: str, password: str) -> None:
    Login.home = Files.home = Path(home)
    Login.user, Login.password = user, password
    key = paramiko.Ed25519Key.from_private_key_file(key_file)
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection, key), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:6])
