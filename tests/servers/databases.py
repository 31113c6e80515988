"""PostgreSQL, and Redis on a TCP port: the parts a production installation stands on."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

from tests.servers.kinds import Missing, Server, free_port, listens, program, wait_for

_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "shared_buffers=128MB")


def postgres_program(name: str) -> str:
    """Return a program of the newest PostgreSQL server; Debian keeps them off everybody's path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    return str(found) if found else program(name, "postgresql")


class PostgreSql(Server):
    """A cluster in a folder of its own, for loopback only; whoever reaches it is trusted.

    ``password`` is that of the user ``panel``, whom the cluster asks for it.
    """

    def start(self) -> dict[str, object]:
        initdb, server = postgres_program("initdb"), postgres_program("postgres")
        user = self._user()
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            os.chown(data, user, -1)
        self._as(user, initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        access = "host all panel 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        (data / "pg_hba.conf").write_text(access)
        port = free_port()
        values = (*_QUICK, "unix_socket_directories=", "listen_addresses=127.0.0.1", f"port={port}")
        options = [word for value in values for word in ("-c", value)]
        with open(self.folder / "postgres.log", "ab") as log:
            process = subprocess.Popen(
                [server, "-D", str(data), *options],
                user=user,
                cwd="/",
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self.processes.append(process)
        wait_for(lambda: self._answers(port), process, self.log("postgres"))
        return {"host": "127.0.0.1", "port": port, "url": f"postgresql://postgres@127.0.0.1:{port}/"}

    def stop(self) -> None:
        """End at once: nobody needs what is in it."""
        for process in self.processes:
            process.send_signal(signal.SIGQUIT)
        super().stop()

    @staticmethod
    def _answers(port: int) -> bool:
        import psycopg

        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @staticmethod
    def _user() -> int | None:
        """Return the system user the server runs as; it refuses to be root."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam("postgres").pw_uid
        except KeyError:
            raise Missing("no user 'postgres' (Debian package postgresql)") from None

    @staticmethod
    def _as(user: int | None, *command: str) -> None:
        done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


class RedisServer(Server):
    """Redis, or Valkey, that asks for a password."""

    def start(self) -> dict[str, object]:
        server = program("redis-server", "redis-server")
        port = free_port()
        process = self.run(
            "redis", server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            "--requirepass", "redis-word", "--databases", "64",
        )  # fmt: skip
        wait_for(lambda: listens(port), process, self.log("redis"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "password": "redis-word",
            "url": f"redis://:redis-word@127.0.0.1:{port}/",
        }


DATABASES: dict[str, type[Server]] = {"postgresql": PostgreSql, "redis": RedisServer}
