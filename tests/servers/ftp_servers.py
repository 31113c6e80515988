"""FTP servers: Pure-FTPd, vsftpd (strict about TLS, without MLSD), and an odd one that can be told to misbehave."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from tests.servers.certificates import Authority
from tests.servers.kinds import (
    PASSWORD,
    USER,
    Missing,
    Server,
    free_port,
    free_range,
    listens,
    needs_root,
    program,
    wait_for,
)
from tests.servers.ssh_servers import block_of

NOBODY = 65534


class PureFtpd(Server):
    """Offers plain FTP and TLS on one port; virtual users: ``backup``, and ``small`` with a quota of 1 MB."""

    options: tuple[str, ...] = ()
    certificate_days = 30

    def start(self) -> dict[str, object]:
        needs_root("pure-ftpd")
        server, tool = program("pure-ftpd", "pure-ftpd"), program("pure-pw", "pure-ftpd")
        home = self.home()
        os.chown(home, NOBODY, NOBODY)
        small = self.folder / "small"
        small.mkdir(exist_ok=True)
        os.chown(small, NOBODY, NOBODY)
        self._add(USER, home)
        self._add("small", small, "1")
        subprocess.run([tool, "mkdb", self.folder / "users.pdb", "-f", self.folder / "users"], check=True)
        ca, pin = self.certificate()
        port, (low, high) = free_port(), free_range(120)
        process = self.run(
            "pure-ftpd",
            *self.command(
                *(server, "-S", f"127.0.0.1,{port}", "-l", f"puredb:{self.folder / 'users.pdb'}"),
                *("-p", f"{low}:{high}", "-P", "127.0.0.1", "-Y", "1", "-2", str(self.folder / "cert.pem")),
                *("-A", "-E", "-H", "-u", "1", "-c", "100", "-C", "60", "-U", "077:077"),
                *("-g", str(self.folder / "pid"), *self.options),
            ),
        )
        wait_for(lambda: listens(port), process, self.log("pure-ftpd"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": USER,
            "password": PASSWORD,
            "home": str(home),
            "ca": ca,
            "pin": pin,
            "data_ports": [low, high],
        }

    def certificate(self) -> tuple[str, str]:
        """Make the certificate; return its authority and its fingerprint."""
        authority = Authority()
        pin = authority.issue(self.folder / "cert.pem", days=self.certificate_days)
        return authority.pem, pin

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return how to start the server."""
        return list(words)

    def _add(self, user: str, home: Path, megabytes: str = "") -> None:
        # pure-pw would hash the password so dearly that every log-in takes seconds of processor time.
        hashed = subprocess.run(
            [program("openssl"), "passwd", "-5", PASSWORD], capture_output=True, text=True, check=True
        )
        quota = str(int(megabytes) << 20) if megabytes else ""
        fields = [user, hashed.stdout.strip(), str(NOBODY), str(NOBODY), "", f"{home}/./", *[""] * 6, quota, *[""] * 5]
        with open(self.folder / "users", "a") as users:
            users.write(":".join(fields) + "\n")
        (self.folder / "users").chmod(0o600)


class PureFtpdFewConnections(PureFtpd):
    """Lets two connections in from one address; the next ones hear 421."""

    options = ("-C", "2")


class PureFtpdExpired(PureFtpd):
    """Shows a certificate that has expired."""

    certificate_days = -3


class PureFtpdTlsOnly(PureFtpd):
    """Refuses log-ins without TLS; its certificate is made as docs/destinations.md says."""

    options = ("-Y", "2")

    def certificate(self) -> tuple[str, str]:
        recipe = block_of("sh", "openssl req")
        commands = recipe[recipe.index("openssl req") : recipe.index("chmod 600")] + block_of("sh", "-fingerprint")
        commands = commands.replace("/etc/ssl/private/pure-ftpd.pem", str(self.folder / "cert.pem"))
        commands = commands.replace("/etc/ssl/private/", f"{self.folder}/")
        done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=True)
        return "", done.stdout.strip()


class PureFtpdSmallDisk(PureFtpd):
    """Serves a disk of 4 MB."""

    def command(self, *words: str | Path) -> list[str | Path]:
        mount = f'mount -t tmpfs -o size=4m,mode=0777 tmpfs "{self.folder / "home"}" && exec "$@"'
        return [program("unshare"), "--mount", "--propagation", "private", "sh", "-c", mount, "sh", *words]


class _Vsftpd(Server):
    settings = ""

    def start(self) -> dict[str, object]:
        needs_root("vsftpd")
        server = self._program()
        # The root of an anonymous log-in must not be writable; the folder below it is.
        root = self.folder / "root"
        home = root / "files"
        home.mkdir(parents=True, exist_ok=True)
        user = pwd.getpwnam("daemon")
        os.chown(home, user.pw_uid, user.pw_gid)
        (self.folder / "empty").mkdir(exist_ok=True)
        authority = Authority()
        pin = authority.issue(self.folder / "cert.pem")
        port, (low, high) = free_port(), free_range(120)
        settings = self.folder / "vsftpd.conf"
        settings.write_text(
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n"
            f"pasv_min_port={low}\npasv_max_port={high}\nseccomp_sandbox=NO\nisolate_network=NO\nisolate=NO\n"
            f"secure_chroot_dir={self.folder / 'empty'}\nanon_root={root}\nftp_username=daemon\n"
            "anonymous_enable=YES\nno_anon_password=YES\nlocal_enable=NO\nwrite_enable=YES\n"
            "anon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n"
            f"anon_world_readable_only=NO\nanon_umask=077\nxferlog_enable=NO\nmax_clients=100\nmax_per_ip=60\n{self.settings}"
            f"rsa_cert_file={self.folder / 'cert.pem'}\n"
        )
        settings.chmod(0o600)
        process = self.run("vsftpd", server, settings)
        wait_for(lambda: listens(port), process, self.log("vsftpd"))
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": "anonymous",
            "password": "nobody@localhost",
            "home": str(home),
            "path": "files",
            "data_ports": [low, high],
            "ca": authority.pem,
            "pin": pin,
        }

    def _program(self) -> str:
        """Find vsftpd, or unpack its package: apt refuses to install it beside other FTP servers."""
        try:
            return program("vsftpd", "vsftpd")
        except Missing:
            unpacked = self.folder / "package"
            unpacked.mkdir(exist_ok=True)
        fetched = subprocess.run(
            ["apt-get", "download", "-qq", "vsftpd"], cwd=unpacked, capture_output=True, check=False
        )
        packages = list(unpacked.glob("vsftpd_*.deb"))
        if fetched.returncode or not packages:
            raise Missing("no program 'vsftpd', and its package cannot be fetched")
        subprocess.run(["dpkg", "-x", packages[0], unpacked], check=True)
        return str(unpacked / "usr/sbin/vsftpd")


class VsftpdStrict(_Vsftpd):
    """Insists on TLS, and on the same TLS session on the data channel."""

    settings = (
        "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n"
        "require_ssl_reuse=YES\nssl_ciphers=HIGH\n"
    )


class VsftpdPlain(_Vsftpd):
    """Knows no TLS and no MLSD."""

    settings = "ssl_enable=NO\n"


class Odd(Server):
    """Prints Windows listings, knows no MLSD, refuses to rename over a file."""

    switches: tuple[str, ...] = ()

    def start(self) -> dict[str, object]:
        home, port = self.home(), free_port()
        odd = Path(__file__).with_name("odd_ftp.py")
        process = self.run("odd-ftp", sys.executable, odd, str(port), str(home), USER, PASSWORD, *self.switches)
        wait_for(lambda: listens(port), process, self.log("odd-ftp"))
        return {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD, "home": str(home)}


class OddHash(Odd):
    """Reckons SHA-256."""

    switches = ("hash", "mlsd", "rename")


class OddPoor(Odd):
    """Prints listings that nobody knows, refuses REST, names another host in PASV, and draws ports that are taken."""

    switches = ("nlst-only", "no-rest", "pasv-elsewhere", "taken-port")


FTP_SERVERS: dict[str, type[Server]] = {
    "pure-ftpd": PureFtpd,
    "pure-ftpd-few": PureFtpdFewConnections,
    "pure-ftpd-expired": PureFtpdExpired,
    "pure-ftpd-tls-only": PureFtpdTlsOnly,
    "pure-ftpd-small-disk": PureFtpdSmallDisk,
    "vsftpd-strict": VsftpdStrict,
    "vsftpd-plain": VsftpdPlain,
    "odd-ftp": Odd,
    "odd-ftp-hash": OddHash,
    "odd-ftp-poor": OddPoor,
}
