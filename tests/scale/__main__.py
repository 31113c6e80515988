"""``python -m tests.scale [FACTOR]``: fill the database that HOLDFAST_DATABASE_URL names, measure, say, judge."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from functools import partial
from itertools import chain
from zoneinfo import ZoneInfo

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings.test")

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from backups.models import Schedule  # noqa: E402
from backups.safety import heat_map  # noqa: E402
from backups.services.schedules import schedules_tick  # noqa: E402
from notifications.ticks import letters_tick  # noqa: E402
from panel.accounts.models import User  # noqa: E402
from panel.accounts.services.measuring import is_due  # noqa: E402
from panel.options.models import Option  # noqa: E402
from restores.downloads import downloads_tick  # noqa: E402
from tests.scale.generate import Volume, add_live, fill  # noqa: E402
from tests.scale.measure import Figure, best_of, page, pages_without_numbers  # noqa: E402
from worker import doorbell  # noqa: E402
from worker.claim import claim_next  # noqa: E402
from worker.clock import now  # noqa: E402
from worker.days import days_tick  # noqa: E402
from worker.models import BackupDay, Job  # noqa: E402
from worker.reaper import reap  # noqa: E402
from worker.scheduler import tick  # noqa: E402


def main() -> int:
    """Run it all; the exit status says whether a limit was missed."""
    factor = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    whole = Volume()
    volume = Volume(**{field.name: max(30, int(getattr(whole, field.name) * factor)) for field in fields(Volume)})
    began = time.monotonic()
    call_command("migrate", verbosity=0, interactive=False)
    if not User.objects.exists():
        fill(volume)
        add_live(pending=min(5000, volume.accounts // 2), running=20)
    print(f"{volume}\n{volume.items:,} items, filled in {time.monotonic() - began:.0f} s", flush=True)
    setup_test_environment()
    doorbell.ring = lambda queue: False  # type: ignore[assignment]
    missed = 0
    for figure in chain(_machine(), _pages()):
        missed += figure.missed
        print(figure, flush=True)
        if figure.missed and figure.slowest:
            print(f"        {figure.slowest[:1500]}", flush=True)
    return int(missed > 0)


def _pages() -> Iterator[Figure]:
    admin = User.objects.get(role="admin")
    reseller = User.objects.filter(role="reseller").first()
    customer = User.objects.get(pk=5)
    run = Job.objects.filter(account=None).order_by("-id").first()
    own = Job.objects.filter(account=5).order_by("-id").first()
    assert reseller is not None
    assert run is not None
    assert own is not None
    paths = pages_without_numbers(forms=True)
    extra = [
        "/accounts/5/edit/",
        "/choices/?kind=accounts&of=q&q=cc99",
        "/choices/?kind=users&of=q&q=99",
        f"/backups/history/{run.pk}/",
        "/accounts/5/",
        "/backups/history/?page=2000",
        "/backups/restore/?account=5",
    ]
    seen = [(admin, path) for path in [*paths, *extra]]
    seen += [(customer, path) for path in [*paths, f"/backups/history/{own.pk}/"]]
    seen += [(reseller, path) for path in paths]
    for who, path in seen:
        figure = page(who, path)
        if figure.status not in (401, 404, 405):
            yield figure


def _machine() -> Iterator[Figure]:
    Option.objects.update_or_create(key="slots_backup", defaults={"value": 10_000})

    def claim() -> None:
        assert claim_next("scale/1", 1) is not None

    claim()

    def due() -> None:
        Schedule.objects.filter(pk__in=range(100, 600)).update(next_run_at=now() - timedelta(seconds=30))

    def forget() -> None:
        BackupDay.objects.filter(day__gte=now().date() - timedelta(days=14)).delete()

    def days() -> None:
        days_tick(now())

    def everybody() -> None:
        Job.objects.filter(subject="schedule:2").update(state="success")
        Schedule.objects.filter(pk=2).update(next_run_at=now() - timedelta(seconds=30))

    def round_() -> None:
        tick([schedules_tick, letters_tick, downloads_tick, days_tick], now())

    while days_tick(now()):
        pass

    yield best_of("claim an item", 10.0, claim, tries=15)
    yield best_of("look for lost workers", 100.0, reap)
    yield best_of("look for accounts to measure", 100.0, is_due)
    yield best_of("sum up two weeks of days", 1000.0, days, before=forget)
    yield best_of("a tick with nothing due", 2000.0, round_, tries=3)
    yield best_of("a tick with 500 schedules due", 2000.0, round_, tries=3, before=due)
    # A run of the entire server: an item for each account.
    yield best_of("a tick with one of the entire server", 2000.0, round_, tries=3, before=everybody)
    reseller = User.objects.filter(role="reseller").first()
    for who in (User.objects.get(role="admin"), reseller):
        assert who is not None
        calendar = partial(heat_map, who, now(), ZoneInfo("UTC"))
        yield best_of(f"the weeks of the overview, {who.role}", 200.0, calendar, tries=3, before=cache.clear)


if __name__ == "__main__":
    sys.exit(main())
