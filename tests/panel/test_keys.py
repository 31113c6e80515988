"""Keys of schedules on real repositories: shown, tried, used, rotated; never open in the web process."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from backups import keygate
from backups.engine import WrongKey
from backups.engine.keyring import list_keys
from backups.engine.repository import Repository as Engine
from backups.gateway import master_key
from backups.keygate import schedule_key
from backups.keys import sealer
from backups.keywork import run_key
from backups.models import OldKey, Repository, Schedule, Snapshot
from backups.places import answer_place, password_place, pasted_place
from backups.reveal import KEY_VERBS
from backups.services.keys import key_rotate
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from backups.work import run_backup
from destinations.storage.local import LocalStore
from panel.audit.models import AuditEvent
from panel.core.errors import Conflict, NotAllowed, PanelError, WrongPassword
from panel.core.sealing import MasterKey
from worker.claim import claim_next
from worker.models import Attempt, Job, JobLogLine
from worker.states import State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def place(tmp_path: Path, people: dict[str, Any]) -> Path:
    """The folder of the destination; alice has a small home."""
    home = tmp_path / "home"
    (home / "public_html").mkdir(parents=True)
    (home / "public_html" / "index.html").write_text("<h1>hello</h1>")
    people["alice_account"].home = str(home)
    people["alice_account"].save()
    people["destination"].config = {"path": str(tmp_path / "backups")}
    people["destination"].save()
    return tmp_path / "backups"


@pytest.fixture
def schedule(people: dict[str, Any], keys: MasterKey, place: Path) -> Schedule:
    values = {"name": "Nightly", "scope": "web", "retention": {"last": 3}}
    return schedule_create(
        ScheduleData(people["server"], people["alice_account"], [people["destination"]], values), actor=people["alice"]
    )


def work(people: dict[str, Any]) -> None:
    """Do what waits, as a worker would."""
    while (claim := claim_next("w/1", people["server"].pk)) is not None:
        {"backup": run_backup, "key": run_key}[claim.item.job.kind](claim)


def backed_up(schedule: Schedule, people: dict[str, Any]) -> None:
    job = schedule_run(schedule, actor=people["alice"])
    work(people)
    job.refresh_from_db()
    assert job.state == State.SUCCESS, job.error


def opens(place: Path, key: str) -> bool:
    path = next(path.parent for path in place.rglob("config"))
    try:
        Engine.open(LocalStore(path), key).close()
    except WrongKey:
        return False
    return True


def asked(verb: str, user: Any, schedule: Schedule, **fields: Any) -> dict[str, Any]:
    """A question as a page puts it, answered as a worker does."""
    request = secrets.token_hex(4)
    once = MasterKey.generate()
    question = {
        "schedule": schedule.pk, "request": request, "public_key": once.public_text(),
        "password": sealer().seal(password_place(request), fields.pop("password", "a long password")),
    } | fields  # fmt: skip
    if "pasted" in question:
        question["pasted"] = sealer().seal(pasted_place(schedule.pk), question["pasted"])
    answer = KEY_VERBS[verb](user, question)
    return answer | ({"opened": once.open(answer_place(schedule.pk), answer["key"])} if "key" in answer else {})


def test_the_key_that_is_shown_opens_the_repository(schedule: Schedule, people: dict[str, Any], place: Path) -> None:
    backed_up(schedule, people)
    assert opens(place, asked("key", people["alice"], schedule)["opened"])


def test_a_wrong_password_shows_nothing_and_ten_close_the_door(schedule: Schedule, people: dict[str, Any]) -> None:
    for _ in range(10):
        with pytest.raises(WrongPassword, match="wrong"):
            asked("key", people["alice"], schedule, password="guess")
    with pytest.raises(WrongPassword, match="Too many"):
        asked("key", people["alice"], schedule)
    assert "administrator" not in WrongPassword.guidance
    assert AuditEvent.objects.filter(action="key.refused").count() == 10


@pytest.mark.parametrize("verb", ["key", "key_try", "key_use"])
def test_a_stranger_knows_no_key(schedule: Schedule, people: dict[str, Any], verb: str) -> None:
    with pytest.raises(PanelError, match="does not exist"):
        asked(verb, people["mallory"], schedule, pasted="x")


def test_rotating_adds_a_new_key_and_then_retires_the_old_one(
    schedule: Schedule, people: dict[str, Any], place: Path
) -> None:
    backed_up(schedule, people)
    Schedule.objects.update(key_saved_at="2026-01-01T00:00:00Z")
    before, packs = schedule_key(schedule), sorted(path.name for path in place.rglob("data/*/*"))
    key_rotate(schedule, actor=people["alice"])
    work(people)
    schedule.refresh_from_db()
    after = schedule_key(schedule)
    assert after != before
    assert (opens(place, after), opens(place, before)) == (True, False)
    assert sorted(path.name for path in place.rglob("data/*/*")) == packs, "nothing is encrypted again"
    assert schedule.key_saved_at is None, "the new key has to be saved too"
    old = OldKey.objects.get()
    assert (old.sealed_key, old.removed_at is not None, schedule.sealed_next_key) == ("", True, "")
    backed_up(schedule, people)
    assert not opens(place, before), "the next run does not bring the old key back"
    assert [job.state for job in Job.objects.filter(kind="key")] == [State.SUCCESS, State.SUCCESS]


def test_no_key_is_in_the_log_or_in_the_rows(schedule: Schedule, people: dict[str, Any]) -> None:
    backed_up(schedule, people)
    before = schedule_key(schedule)
    key_rotate(schedule, actor=people["alice"])
    work(people)
    schedule.refresh_from_db()
    said = " ".join(JobLogLine.objects.values_list("text", flat=True)) + repr(list(Job.objects.values()))
    said += repr(list(Schedule.objects.values())) + repr(list(AuditEvent.objects.values()))
    assert before not in said
    assert schedule_key(schedule) not in said


def test_a_rotation_that_fails_leaves_the_old_key_in_force(
    schedule: Schedule, people: dict[str, Any], place: Path
) -> None:
    backed_up(schedule, people)
    before = schedule_key(schedule)
    folder = next(place.rglob("keys"))
    folder.rename(folder.with_name("elsewhere"))
    job = key_rotate(schedule, actor=people["alice"])
    work(people)
    job.refresh_from_db()
    schedule.refresh_from_db()
    assert job.state == State.FAILED and job.error_code
    assert schedule_key(schedule) == before and not OldKey.objects.exists()
    folder.with_name("elsewhere").rename(folder)
    key_rotate(schedule, actor=people["alice"])
    work(people)
    schedule.refresh_from_db()
    assert opens(place, schedule_key(schedule)) and not opens(place, before)


def test_a_slow_change_of_keys_stays_alive_and_its_lock_is_noted(
    schedule: Schedule, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(schedule, people)
    beats, noted, said = list[bool](), list[str](), keygate._said_by

    def slowly(process: Any) -> Any:
        old = datetime(2000, 1, 1, tzinfo=UTC)
        Attempt.objects.filter(outcome="running").update(heartbeat_at=old)
        yield None
        beats.append(Attempt.objects.filter(outcome="running", heartbeat_at__gt=old).exists())
        yield from said(process)

    monkeypatch.setattr(keygate, "_said_by", slowly)
    monkeypatch.setattr(keygate, "note_lock", lambda attempts, lock: noted.append(lock))
    job = key_rotate(schedule, actor=people["alice"])
    work(people)
    job.refresh_from_db()
    assert job.state == State.SUCCESS
    assert beats
    assert all(beats)
    assert [len(name) for name in noted[:2]] == [64, 0]


def test_a_lost_worker_that_changed_keys_leaves_no_lock(
    schedule: Schedule, people: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backed_up(schedule, people)
    said = keygate._said_by

    def killed(process: Any) -> Any:
        for event in said(process):
            yield event
            if event is not None and event["event"] == "lock":
                process.kill()
                return

    monkeypatch.setattr(keygate, "_said_by", killed)
    job = key_rotate(schedule, actor=people["alice"])
    work(people)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert list(place.rglob("locks/*"))
    monkeypatch.setattr(keygate, "_said_by", said)
    backed_up(schedule, people)
    assert not list(place.rglob("locks/*"))


def test_a_key_cannot_be_rotated_twice_at_a_time(schedule: Schedule, people: dict[str, Any]) -> None:
    key_rotate(schedule, actor=people["alice"])
    with pytest.raises(Conflict):
        key_rotate(schedule, actor=people["alice"])


@pytest.fixture
def from_elsewhere(schedule: Schedule, people: dict[str, Any], place: Path) -> str:
    """A repository that another installation left at the schedule's place; its key is returned."""
    backed_up(schedule, people)
    key = schedule_key(schedule)
    Snapshot.objects.all().delete()
    Repository.objects.all().delete()
    Job.objects.all().delete()
    other = schedule_create(
        ScheduleData(
            people["server"], people["alice_account"], [people["destination"]], {"name": "New", "scope": "web"}
        ),
        actor=people["alice"],
    )
    schedule.delete()
    people["new"] = other
    return key


def test_a_trial_tells_every_step_and_changes_nothing(from_elsewhere: str, people: dict[str, Any], place: Path) -> None:
    before = sorted(str(path) for path in place.rglob("*"))
    good = asked("key_try", people["alice"], people["new"], pasted=f"# saved key\n{from_elsewhere}\n")
    assert [step["state"] for step in good["trials"][0]["steps"]] == ["success"] * 4
    assert good["opens"] and good["trials"][0]["snapshots"] == 1
    wrong = asked("key_try", people["alice"], people["new"], pasted="not the key")
    assert [step["state"] for step in wrong["trials"][0]["steps"]] == ["success", "failed"]
    assert not wrong["opens"]
    assert sorted(str(path) for path in place.rglob("*")) == before


@pytest.mark.parametrize("how", ["add", "replace"])
def test_a_pasted_key_makes_the_old_snapshots_usable_again(
    from_elsewhere: str, people: dict[str, Any], place: Path, how: str
) -> None:
    """KEY-08: the same place, the key from a file; then the snapshots are listed and the next run goes on."""
    new = people["new"]
    own = schedule_key(new)
    asked("key_use", people["alice"], new, pasted=from_elsewhere, how=how)
    work(people)
    new.refresh_from_db()
    assert Snapshot.objects.filter(schedule=new, kind="foreign", account=people["alice_account"]).count() == 1
    assert schedule_key(new) == (own if how == "add" else from_elsewhere)
    assert opens(place, from_elsewhere)
    assert opens(place, own) == (how == "add")
    assert OldKey.objects.count() == (how == "replace")
    backed_up(new, people)
    assert Snapshot.objects.filter(schedule=new).count() == 2


def test_without_its_key_a_repository_that_is_there_is_not_overwritten(
    from_elsewhere: str, people: dict[str, Any], place: Path
) -> None:
    job = schedule_run(people["new"], actor=people["alice"])
    work(people)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, "HF-REPO-KEY")
    assert opens(place, from_elsewhere)


def test_a_key_that_opens_nothing_is_not_taken(from_elsewhere: str, people: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="opens none"):
        asked("key_use", people["alice"], people["new"], pasted="not the key", how="replace")
    assert not OldKey.objects.exists()
    with pytest.raises(NotAllowed):
        asked("key_use", people["alice"], people["new"], pasted=from_elsewhere, how="add", password="wrong")


def test_the_second_key_is_a_second_file_for_the_same_data(
    from_elsewhere: str, people: dict[str, Any], place: Path
) -> None:
    asked("key_use", people["alice"], people["new"], pasted=from_elsewhere, how="add")
    work(people)
    path = next(path.parent for path in place.rglob("config"))
    repository = Engine.open(LocalStore(path), from_elsewhere)
    assert len(list_keys(repository)) == 2
    repository.close()


def test_the_note_stays_until_the_key_was_downloaded(
    schedule: Schedule, people: dict[str, Any], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_page_asks(monkeypatch)
    client: Client = browser("alice")
    address = f"/backups/schedules/{schedule.pk}/key/"
    assert "Save the key of" in client.get("/backups/schedules/").content.decode()
    assert client.post(address, {"what": "show", "password": "wrong"}).status_code == 422
    shown = client.post(address, {"what": "show", "password": "a long password"})
    key = schedule_key(schedule)
    assert key in shown.content.decode() and "no-store" in shown["Cache-Control"]
    assert key not in client.get(address).content.decode()
    assert "Save the key of" in client.get("/backups/schedules/").content.decode()
    file = client.post(address, {"what": "download", "password": "a long password"})
    assert file.content.decode().strip() == key
    assert f"holdfast-backup-key-{schedule.pk}.txt" in file["Content-Disposition"]
    assert "Save the key of" not in client.get("/backups/schedules/").content.decode()


def as_a_page_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def worker(verb: str, *, user: Any, session_key: str, wait: int = 0, **fields: Any) -> dict[str, Any]:
        return KEY_VERBS[verb](user, fields)

    monkeypatch.setattr("backups.views.keys.ask", worker)


def test_rotating_by_the_page_asks_for_the_password_and_says_that_it_goes_on(
    schedule: Schedule, people: dict[str, Any], browser: Any
) -> None:
    address = f"/backups/schedules/{schedule.pk}/key/rotate/"
    client: Client = browser("alice")
    assert "can still read that copy" in client.get(address).content.decode()
    assert client.post(address, {"password": "guess"}).status_code == 422
    assert not Job.objects.exists()
    assert client.post(address, {"password": "a long password"}).status_code == 302
    assert Job.objects.get().kind == "key"
    assert "The key is changing" in client.get(f"/backups/schedules/{schedule.pk}/key/").content.decode()
    assert client.post(address, {"password": "a long password"}).status_code == 422


def test_a_pasted_key_is_tried_and_used_by_the_page_and_never_comes_back_in_it(
    from_elsewhere: str, people: dict[str, Any], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_page_asks(monkeypatch)
    client: Client = browser("alice")
    address = f"/backups/schedules/{people['new'].pk}/key"
    for nonsense in ("", "one line\nand another", "x" * 2000):
        assert client.post(f"{address}/try/", {"pasted": nonsense}).status_code == 422
    tried = client.post(f"{address}/try/", {"pasted": from_elsewhere})
    page = tried.content.decode()
    assert "One file read back" in page and "Add as second key" in page
    assert from_elsewhere not in page
    sealed = tried.context["sealed"]
    wrong = client.post(f"{address}/use/", {"sealed": sealed, "how": "add", "password": "guess"})
    assert (wrong.status_code, Job.objects.count()) == (422, 0)
    moved = browser("mallory").post(f"{address}/use/", {"sealed": sealed, "how": "add", "password": "a long password"})
    assert moved.status_code == 404
    used = client.post(f"{address}/use/", {"sealed": sealed, "how": "add", "password": "a long password"})
    assert (used.status_code, Job.objects.get().kind) == (302, "key")


def test_the_web_tier_seals_and_cannot_open(schedule: Schedule) -> None:
    assert not hasattr(sealer(), "open")
    assert master_key() is not None
