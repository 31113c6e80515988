"""Destinations in the panel: what is stored of them, how they are tested, and how they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backups.models import Repository, Schedule, Snapshot
from destinations import services
from destinations.factory import plain_config
from destinations.models import DayTraffic, Destination, JobTraffic, S3Defaults
from destinations.services import DestinationData, FieldInvalid
from panel.core.errors import Conflict, Invalid, NotAllowed
from panel.core.sealing import SealError
from tests.servers import lend
from tests.servers.kinds import free_port
from worker.claim import claim_next
from worker.clock import now
from worker.models import Job, JobLogLine
from worker.run import work_on
from worker.states import State

pytestmark = pytest.mark.django_db
FTP = {"host": "ftp.example.org", "port": 21, "user": "backup", "tls": True}


def save(people: dict[str, Any], kind: str, config: dict[str, Any], *, actor: str = "root", **options: Any) -> Any:
    given = {"name": "There", "account": None, "secrets": {}, "read_only": False} | options
    destination = given.pop("destination", None)
    data = DestinationData(kind=kind, config=config, **given)
    return services.destination_save(data, actor=people[actor], destination=destination)


def checked(people: dict[str, Any], destination: Destination, **options: Any) -> Destination:
    """Run the destination's test as a worker does."""
    services.destination_test(destination, actor=people["root"], **options)
    claim = claim_next("w/1", people["server"].pk)
    assert claim is not None
    work_on(claim)
    destination.refresh_from_db()
    return destination


def states(destination: Destination) -> dict[str, str]:
    return {step["name"]: step["state"] for step in destination.test_report}


def ftp(people: dict[str, Any], **more: Any) -> Destination:
    server = lend("pure-ftpd")
    names = ("host", "port", "user")
    config = {name: server[name] for name in names} | {"path": "panel", "tls": True, "pins": [server["pin"]]} | more
    return save(people, "ftp", config, secrets={"password": server["password"]})


def sftp(people: dict[str, Any], **more: Any) -> Destination:
    server = lend("openssh")
    config = {"host": server["host"], "port": server["port"], "user": server["user"], "path": f"{server['home']}/panel"}
    return save(people, "sftp", config | more, secrets={"private_key": server["private_key"]})


# what is stored


def test_secrets_are_sealed_and_only_the_master_key_opens_them(people: dict[str, Any], keys: Any) -> None:
    made = save(people, "ftp", FTP, secrets={"password": "pass phrase 77"})
    assert made.sealed["password"].startswith("hf1:")
    assert "pass phrase 77" not in json.dumps([made.config, made.sealed])
    assert plain_config(made, keys)["password"] == "pass phrase 77"


def test_a_secret_that_is_not_typed_again_stays(people: dict[str, Any], keys: Any) -> None:
    made = save(people, "ftp", FTP, secrets={"password": "pass phrase 77"})
    save(people, "ftp", FTP | {"timeout": 60}, destination=made)
    assert plain_config(made, keys)["password"] == "pass phrase 77"
    assert made.config["timeout"] == 60


@pytest.mark.parametrize("change", [{"host": "evil.example.org"}, {"port": 2121}, {"user": "eve"}, {"tls": False}])
def test_a_stored_secret_is_never_sent_to_another_place(
    people: dict[str, Any], keys: Any, change: dict[str, Any]
) -> None:
    made = save(people, "ftp", FTP, secrets={"password": "pass phrase 77"})
    with pytest.raises(FieldInvalid, match="type it again"):
        save(people, "ftp", FTP | change, destination=made)
    # Not even for somebody who can write to the table.
    Destination.objects.update(config=FTP | change)
    with pytest.raises(SealError):
        plain_config(Destination.objects.get(pk=made.pk), keys)


def test_another_host_forgets_the_identity_of_the_first(people: dict[str, Any], keys: Any) -> None:
    config = {"host": "a.example", "port": 22, "user": "u"}
    made = save(people, "sftp", config, secrets={"password": "pass"})
    Destination.objects.update(config=config | {"host_keys": ["SHA256:x"]})
    made.refresh_from_db()
    assert save(people, "sftp", config, destination=made).config["host_keys"] == ["SHA256:x"]
    again = save(people, "sftp", config | {"host": "b.example"}, destination=made, secrets={"password": "pass"})
    assert "host_keys" not in again.config


@pytest.mark.parametrize(
    ("kind", "config", "secrets"),
    [
        ("local", {"path": "relative"}, {}),
        ("local", {"path": "/a/../etc"}, {}),
        ("ftp", FTP | {"port": 0}, {}),
        ("ftp", FTP | {"host": "a b"}, {}),
        ("ftp", FTP | {"user": "x\r\nDELE y"}, {}),
        ("ftp", FTP | {"pins": ["12"]}, {}),
        ("ftp", FTP, {"secret_key": "not of FTP"}),
        ("sftp", {"host": "a.example", "user": "u"}, {}),
        ("s3", {"bucket": "x"}, {}),
        ("s3", {"bucket": "bucket", "access_key": "only one"}, {}),
        ("s3", {"bucket": "bucket", "endpoint": "file:///etc"}, {}),
        ("s3", {"bucket": "bucket", "object_lock": "GOVERNANCE"}, {}),
        ("ftp", FTP | {"disk_limit": 101}, {}),
        ("ftp", FTP | {"frames": [{"start": "25:00", "end": "26:00"}]}, {}),
        ("ftp", FTP | {"unknown": 1}, {}),
    ],
)
def test_what_cannot_work_is_not_stored(
    people: dict[str, Any], keys: Any, kind: str, config: dict[str, Any], secrets: dict[str, str]
) -> None:
    with pytest.raises(Invalid):
        save(people, kind, config, secrets=secrets)
    assert not Destination.objects.filter(name="There").exists()


def test_empty_s3_fields_take_the_global_settings_and_own_ones_win(people: dict[str, Any], keys: Any) -> None:
    services.s3_defaults_save(
        actor=people["root"], endpoint="https://s3.example", region="eu", access_key="GLOBAL", secret_key="global s"
    )
    assert "global s" not in json.dumps(S3Defaults.objects.get().sealed)
    plain = plain_config(save(people, "s3", {"bucket": "one-bucket"}), keys)
    assert (plain["endpoint"], plain["region"], plain["access_key"]) == ("https://s3.example", "eu", "GLOBAL")
    assert plain["secret_key"] == "global s"
    own = {"bucket": "bucket", "endpoint": "https://own.example", "access_key": "OWN"}
    plain = plain_config(save(people, "s3", own, name="Own", secrets={"secret_key": "own s"}), keys)
    assert (plain["endpoint"], plain["access_key"], plain["secret_key"]) == ("https://own.example", "OWN", "own s")


def test_customers_need_the_permission_and_never_get_folders_of_the_server(people: dict[str, Any], keys: Any) -> None:
    account = people["alice_account"]
    own: dict[str, Any] = {"actor": "alice", "account": account, "secrets": {"password": "p"}}
    with pytest.raises(NotAllowed):
        save(people, "ftp", FTP, **own)
    account.package.custom_storage = True
    account.package.save()
    made = save(people, "ftp", FTP, **own)
    assert plain_config(made, keys)["public_only"] is True
    for kind, config, owner in (("local", {"path": "/etc"}, account), ("ftp", FTP, people["mallory_account"])):
        with pytest.raises(NotAllowed):
            save(people, kind, config, actor="alice", account=owner, name="Other", secrets={})
    with pytest.raises(NotAllowed):
        save(people, "sftp", {"host": "a.example", "user": "u", "agent": True}, name="Agent", actor="alice",
             account=account)  # fmt: skip
    with pytest.raises(FieldInvalid):
        save(people, "s3", {"bucket": "bucket", "endpoint": "https://mine.example"}, name="S", actor="alice",
             account=account)  # fmt: skip
    assert Destination.objects.visible_to(people["mallory"]).count() == 0


def test_a_customers_storage_reaches_no_private_network_and_learns_nothing_of_it(
    people: dict[str, Any], keys: Any
) -> None:
    account = people["alice_account"]
    account.package.custom_storage = True
    account.package.save()
    server = lend("pure-ftpd")
    codes = set()
    for port in (server["port"], free_port()):
        config = {"host": "127.0.0.1", "port": port, "user": "u", "tls": False}
        made = save(people, "ftp", config, name=f"On {port}", actor="alice", account=account, secrets={"password": "p"})
        found = checked(people, made).test_report
        failed = next(step for step in found if step["state"] == "failed")
        codes.add((failed["code"], failed["detail"]))
    assert codes == {("HF-STORE-UNREACHABLE", "the server cannot be reached from here")}


# tests


@pytest.mark.parametrize("kind", ["local", "ftp", "sftp"])
def test_a_good_destination_passes_and_is_ready(people: dict[str, Any], keys: Any, tmp_path: Path, kind: str) -> None:
    if kind == "local":
        made = save(people, "local", {"path": str(tmp_path)})
    elif kind == "ftp":
        made = ftp(people)
    else:
        made = sftp(people, host_keys=[lend("openssh")["fingerprint"]])
    made = checked(people, made)
    assert set(states(made).values()) == {"ok"}
    assert made.test_ok is True
    assert made.tested_at is not None
    assert Job.objects.get(pk=made.test_job_id).state == State.SUCCESS
    if kind != "ftp":
        assert made.free_bytes
    log = "\n".join(JobLogLine.objects.values_list("text", flat=True))
    assert "speed: ok" in log
    assert "PRIVATE KEY" not in log
    through = JobTraffic.objects.get(job=made.test_job_id, destination=made)
    assert min(through.sent, through.received) > 8 << 20, "the object that measures the speed, at least"
    assert through.requests > 10
    assert DayTraffic.objects.get(destination=made).sent == through.sent


def test_an_ssh_servers_identity_is_shown_confirmed_pinned_and_a_changed_one_is_refused(
    people: dict[str, Any], keys: Any
) -> None:
    made = checked(people, sftp(people))
    step = next(step for step in made.test_report if step["state"] == "failed")
    assert (step["name"], step["code"]) == ("check the identity", "HF-STORE-FINGERPRINT-NEW")
    assert lend("openssh")["fingerprint"] in step["fingerprint"]
    assert made.test_ok is False
    assert set(states(made).values()) >= {"failed", "skipped"}
    with pytest.raises(Conflict):
        services.destination_trust(made, "SHA256:of-somebody-else", actor=people["root"])
    services.destination_trust(made, step["fingerprint"], actor=people["root"])
    made = checked(people, made)
    assert made.test_ok is True
    Destination.objects.update(config=made.config | {"host_keys": ["ssh-ed25519 SHA256:" + "A" * 43]})
    made.refresh_from_db()
    made = checked(people, made)
    step = next(step for step in made.test_report if step["state"] == "failed")
    assert step["code"] == "HF-STORE-FINGERPRINT"
    services.destination_trust(made, step["fingerprint"], actor=people["root"])
    assert made.config["host_keys"] == [step["fingerprint"]]


def test_a_certificate_is_shown_and_can_be_pinned(people: dict[str, Any], keys: Any) -> None:
    made = checked(people, ftp(people, pins=[]))
    step = next(step for step in made.test_report if step["state"] == "failed")
    assert (step["name"], step["code"]) == ("secure", "HF-STORE-CERT")
    assert step["fingerprint"] == lend("pure-ftpd")["pin"]
    services.destination_trust(made, step["fingerprint"], actor=people["root"])
    assert checked(people, made).test_ok is True


def test_our_key_is_installed_and_the_password_is_forgotten(people: dict[str, Any], keys: Any) -> None:
    server = lend("small-ssh")
    config = {"host": server["host"], "port": server["port"], "user": server["user"], "path": "panel-key"}
    config |= {"host_keys": [server["fingerprint"]]}
    made = save(people, "sftp", config, secrets={"password": server["password"]})
    made = checked(people, made, install_key=True)
    assert states(made)["install a key"] == "ok"
    assert made.test_ok is True
    assert set(made.sealed) == {"private_key"}
    assert "OPENSSH PRIVATE KEY" in plain_config(made, keys)["private_key"]
    assert checked(people, made).test_ok is True
    text = json.dumps([made.test_report, list(JobLogLine.objects.values_list("text", flat=True))])
    assert "PRIVATE KEY" not in text
    assert server["password"] not in text


def test_a_wrong_password_names_the_step_the_cause_and_the_next_step(people: dict[str, Any], keys: Any) -> None:
    made = ftp(people)
    save(people, "ftp", made.config, destination=made, secrets={"password": "wrong password 9"})
    made = checked(people, made)
    step = next(step for step in made.test_report if step["state"] == "failed")
    assert (step["name"], step["code"]) == ("log in", "HF-STORE-LOGIN")
    assert step["guidance"]
    job = Job.objects.get(pk=made.test_job_id)
    assert (job.state, job.error_code) == (State.FAILED, "HF-STORE-LOGIN")
    assert "wrong password 9" not in json.dumps(made.test_report)


def test_a_test_runs_once_at_a_time_and_can_be_stopped(people: dict[str, Any], keys: Any) -> None:
    made = ftp(people)
    job = services.destination_test(made, actor=people["root"])
    made.refresh_from_db()
    with pytest.raises(Conflict):
        services.destination_test(made, actor=people["root"])
    claim = claim_next("w/1", people["server"].pk)
    assert claim is not None
    Job.objects.filter(pk=job.pk).update(cancel_at=now())
    work_on(claim)
    made.refresh_from_db()
    assert made.test_ok is False
    assert Job.objects.get(pk=job.pk).state == State.ABORTED


# going away


def test_a_destination_in_use_is_not_removed(people: dict[str, Any], keys: Any) -> None:
    made = save(people, "local", {"path": "/srv/backups"})
    schedule = Schedule.objects.create(name="Nightly", server=people["server"], next_run_at=now())
    schedule.destinations.add(made)
    with pytest.raises(Conflict, match="Nightly"):
        services.destination_remove(made, actor=people["root"])
    schedule.destinations.clear()
    repository = Repository.objects.create(destination=made, path="server")
    Snapshot.objects.create(repository=repository, snapshot_id="a" * 64, tree="b" * 64, scope="web", taken_at=now())
    services.destination_remove(made, actor=people["root"])
    made.refresh_from_db()
    assert made.sealed == {}
    assert made not in Destination.objects.present()
    assert Snapshot.objects.present().count() == 0
    assert save(people, "local", {"path": "/srv/backups"}).pk != made.pk


def test_the_place_of_stored_backups_does_not_change(people: dict[str, Any], keys: Any) -> None:
    made = save(people, "local", {"path": "/srv/backups"})
    Repository.objects.create(destination=made, path="server")
    with pytest.raises(FieldInvalid):
        save(people, "local", {"path": "/srv/other"}, destination=made)
    save(people, "local", {"path": "/srv/backups", "up": 5}, destination=made, name="Renamed")


def test_the_menu_leads_to_own_storage_only_where_the_package_allows_it(people: dict[str, Any], browser: Any) -> None:
    client = browser("alice")
    assert 'href="/destinations/"' not in client.get("/").content.decode()
    package = people["alice_account"].package
    package.custom_storage = True
    package.save()
    assert 'href="/destinations/"' in client.get("/").content.decode()
    assert client.get("/destinations/").status_code == 200
