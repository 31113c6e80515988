"""An installation that has been used for weeks: long names, every result, days that went wrong."""

from __future__ import annotations

# Runs inside the panel (Stack.run_code).  What it stores directly is history; nothing here runs by itself.
WEEKS = """
from datetime import timedelta
from pathlib import Path
from backups.models import Schedule
from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from destinations.models import Destination
from panel.accounts.models import Account, Server
from panel.accounts.services import account_add
from worker.clock import now
from worker.models import Job, JobItem
from worker.states import Kind, Slot, State

server = Server.objects.get()
juniper = Account.objects.get(name="juniper")
hubertus = Account.objects.get(name="hubertus")
place = Destination.objects.get()
long = account_add(
    server, "dachdecker-hoffmann-und-soehne-meisterbetrieb-seit-1911-gmbh", HOMES + "/dachdecker",
    domain="dachdecker-hoffmann-und-soehne-meisterbetrieb-seit-1911.example",
)
hebrew = account_add(server, "shalom", HOMES + "/shalom", domain="shalom.example")
Path(HOMES, "dachdecker").mkdir()
Path(HOMES, "shalom").mkdir()


def made(name, account, **values):
    told = {"name": name, "scope": "web", "frequency": "daily", "hour": 3, "retention": {"last": 14}} | values
    return schedule_create(ScheduleData(server, account, [place], told), actor=None)


night = made("Nightly web files", juniper)
hotel = made("Hotel, twice a day", hubertus, hour=12)
off = made("Shop before deploy", juniper, is_enabled=False)
late = made("Monthly archive for the tax office, kept for ten years as the law asks", long, frequency="monthly", day=1)
made("גיבוי לילי", hebrew, hour=4)
moment = now()
Schedule.objects.filter(pk=late.pk).update(overdue_since=moment - timedelta(hours=6))
for days in range(109, 0, -1):
    state, error = State.SUCCESS, ""
    if days in (9, 58):
        state, error = State.FAILED, "Office NAS refused to store more data after 2.4 of 9.7 GB (552 Disk full)."
    elif days in (23, 71):
        state = State.WARNING
    elif days == 40:
        state = State.PARTIAL
    at = moment - timedelta(days=days, hours=2)
    job = Job.objects.create(
        kind=Kind.BACKUP, name=night.name, scope="web", subject=f"schedule:{night.pk}", server=server, account=juniper,
        state=state, created_at=at, started_at=at, finished_at=at + timedelta(minutes=3, seconds=days),
        bytes_done=48_200_000 + days, files_done=2119, items_total=1, items_done=1, error=error,
        error_code="HF-DEST-FULL" if error else "",
        guidance="Add space, or choose another destination; then run again." if error else "",
    )
    JobItem.objects.create(
        job=job, account=juniper, server=server, label="juniper", slot=Slot.BACKUP, state=state, error=error,
        started_at=at, finished_at=job.finished_at,
    )
for schedule in (night, hotel):
    schedule_run(schedule, trigger="scheduled")
result = {"night": night.pk, "hotel": hotel.pk, "failed": Job.objects.filter(state=State.FAILED).first().pk,
          "long": long.pk}
"""
