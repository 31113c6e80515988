"""The schedule form."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.db.models import Q

from backups.models import CatchUp, Frequency, Overlap, Schedule, Scope
from backups.own_storage_form import OwnStorageForm
from backups.retention import RULES, policy_of
from backups.selectors import COMPONENTS
from backups.services.own_storage import OwnStorage, may_change_own_storage, own_storage_of
from backups.timing import EVERY, WEEKDAYS, Timing, next_runs, time_of_day
from destinations.models import Destination
from panel.accounts.choosing import one_of
from panel.accounts.models import Account
from panel.core.errors import Invalid
from worker.clock import now

SCOPE_WORDS = {
    "full": ("stack-2", "Everything below"),
    "web": ("world", "Website files"),
    "db": ("database", "MariaDB, PostgreSQL"),
    "mail": ("mail", "Mailboxes and filters"),
    "ssl": ("certificate", "Certificates and keys"),
    "config": ("settings-2", "Nginx, PHP-FPM"),
}
PRIORITIES = (("", "As each account's group says"), ("10", "High"), ("50", "Normal"), ("90", "Low"))
_MOST_PATTERNS, _LONGEST_PATTERN = 500, 400


class ScheduleForm(forms.Form):
    """What · When · Keep · Where."""

    name = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"placeholder": "Nightly full"}))
    mode = forms.ChoiceField(choices=[("server", "Entire server"), ("account", "Single customer")], initial="server")
    account = forms.ModelChoiceField(
        Account.objects.none(), to_field_name="uid", required=False, empty_label="Choose an account"
    )
    scope = forms.ChoiceField(choices=[(code, Scope(code).label) for code in COMPONENTS], initial="full")
    excludes = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "*.log\ncache/"}),
        required=False,
        label="Leave out",
        help_text="One pattern a line. A name matches at every depth; ** stands for any number of folders.",
    )
    frequency = forms.ChoiceField(choices=Frequency.choices, initial="daily")
    every = forms.TypedChoiceField(coerce=int, initial=1, required=False, empty_value=1, label="Hours between runs")
    hour = forms.TypedChoiceField(coerce=int, initial=3, required=False, empty_value=0)
    minute = forms.IntegerField(min_value=0, max_value=59, initial=0, required=False)
    weekday = forms.TypedChoiceField(
        choices=list(enumerate(WEEKDAYS)), coerce=int, initial=0, required=False, empty_value=0, label="Day of week"
    )
    day = forms.IntegerField(
        min_value=1, max_value=28, initial=1, required=False, label="Day of month", help_text="1 to 28"
    )
    cron = forms.CharField(
        max_length=120,
        required=False,
        label="Rule",
        help_text="Minute, hour, day of month, month, day of week; for example 30 2 * * 1-5.",
    )
    zone = forms.CharField(initial="UTC", label="Time zone", widget=forms.TextInput(attrs={"list": "zones"}))
    catch_up = forms.ChoiceField(choices=CatchUp.choices, initial="once", label="After downtime")
    overlap = forms.ChoiceField(
        choices=Overlap.choices, initial="skip", label="If the run before still goes on", required=False
    )
    jitter = forms.IntegerField(
        min_value=0, max_value=720, initial=0, required=False, label="Spread, minutes", help_text="Moves each start."
    )
    window = forms.IntegerField(
        min_value=0, max_value=1440, initial=0, required=False, label="Window, minutes", help_text="0 = no end."
    )
    grace = forms.IntegerField(
        min_value=5, max_value=10080, initial=120, required=False, label="Overdue after, minutes"
    )
    priority = forms.TypedChoiceField(
        choices=PRIORITIES, coerce=int, empty_value=None, required=False, label="Priority in the queue"
    )
    keep_mode = forms.ChoiceField(choices=[("count", "By count"), ("rules", "By rules")], initial="count")
    keep = forms.IntegerField(min_value=1, max_value=10000, label="Snapshots to keep", required=False)
    destinations = forms.ModelMultipleChoiceField(
        Destination.objects.none(), widget=forms.CheckboxSelectMultiple, required=False
    )

    def __init__(
        self, *args: Any, viewer: Any, schedule: Schedule | None = None, twelve: bool = True, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._viewer, self._schedule = viewer, schedule
        for rule in RULES:
            limit = forms.IntegerField(min_value=0, max_value=10000, required=False, initial=0, label=rule.title())
            self.fields[f"keep_{rule}"] = limit
        self._choose("every", [(hours, f"every {hours}" if hours > 1 else "every hour") for hours in EVERY])
        self._choose("hour", [(hour, time_of_day(hour, 0, twelve=twelve)) for hour in range(24)])
        accounts = Account.objects.visible_to(viewer).living()
        self.fields["account"] = one_of(self.fields["account"], accounts, "accounts")
        self.fields["destinations"].queryset = usable_destinations(viewer, schedule)  # type: ignore[attr-defined]
        self.own_storage = own_storage_of(schedule) if schedule is not None else None
        self.own: OwnStorageForm | None = None
        if may_change_own_storage(viewer, schedule):
            self.own = OwnStorageForm(self.data if self.is_bound else None, own=self.own_storage)
        if not viewer.is_admin:
            self._choose("mode", [("account", "Single customer")])
            self.fields["mode"].initial = "account"

    def _choose(self, name: str, choices: list[tuple[Any, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]

    def is_valid(self) -> bool:
        """Tell whether all of it can be used, with the storage of the schedule's own."""
        return bool(super().is_valid() & (self.own is None or self.own.is_valid()))

    @property
    def is_wrong(self) -> bool:
        """Whether something was sent that cannot be used."""
        return bool(self.errors or (self.own is not None and self.own.errors))

    def storage(self) -> OwnStorage | None:
        """Return what was entered of storage of its own; None leaves it as it is."""
        return self.own.storage() if self.own is not None else None

    def clean_zone(self) -> str:
        """Refuse what is no zone."""
        zone: str = self.cleaned_data["zone"].strip()
        if zone not in available_timezones():
            raise forms.ValidationError("There is no such time zone; write one like Europe/Berlin.")
        return zone

    def clean_excludes(self) -> str:
        """Refuse more than anybody means."""
        lines = self.cleaned_data["excludes"].splitlines()
        if len(lines) > _MOST_PATTERNS or any(len(line) > _LONGEST_PATTERN or "\0" in line for line in lines):
            raise forms.ValidationError(f"At most {_MOST_PATTERNS} patterns of {_LONGEST_PATTERN} letters each.")
        return "\n".join(lines)

    def clean(self) -> dict[str, Any]:
        """Ask for what the mode and the frequency need; fill in what was left empty."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("mode") == "account" and not data.get("account") and "account" not in self.errors:
            self.add_error("account", "Choose an account.")
        for name in ("hour", "minute", "day", "weekday", "every", "jitter", "window", "grace", "overlap"):
            if data.get(name) in (None, "") and name not in self.errors:
                data[name] = self.fields[name].initial
        self._check_timing(data)
        self._check_keep(data)
        own = self.own.chosen if self.own is not None else self.own_storage
        if not data.get("destinations") and not own and "destinations" not in self.errors:
            self.add_error("destinations", "Choose at least one destination.")
        return data

    def _check_timing(self, data: dict[str, Any]) -> None:
        if data.get("frequency") != "custom" or "zone" not in data:
            return
        try:
            next_runs(timing_from(data), now(), 1)
        except ValueError as error:
            self.add_error("cron", str(error))

    def _check_keep(self, data: dict[str, Any]) -> None:
        rules = retention_from(data)
        if data.get("keep_mode") == "count" and not rules and "keep" not in self.errors:
            self.add_error("keep", "Write how many snapshots stay.")
        elif not rules and not any(name.startswith("keep") for name in self.errors):
            self.add_error("keep_last", "Keep at least one by some rule.")

    def values(self) -> dict[str, Any]:
        """Return the fields of the row."""
        data = self.cleaned_data
        names = (
            "name", "scope", "frequency", "every", "hour", "minute", "weekday", "day", "cron", "zone", "catch_up",
            "overlap", "jitter", "window", "grace", "priority",
        )  # fmt: skip
        excludes = [line.strip() for line in data["excludes"].splitlines() if line.strip()]
        return {name: data[name] for name in names} | {"retention": retention_from(data), "excludes": excludes}

    def cards(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield what the picker of a field shows."""
        field = self[name]
        chosen = str(field.value() or self.fields[name].initial)
        for value, label in self.fields[name].choices:  # type: ignore[attr-defined]
            drawing, text = SCOPE_WORDS.get(str(value), ("", ""))
            yield {
                "id": f"{field.auto_id}_{value}", "value": value, "label": label, "checked": str(value) == chosen,
                "drawing": drawing, "text": text,
            }  # fmt: skip

    @property
    def scope_cards(self) -> list[dict[str, Any]]:
        """The scopes that exist today."""
        return list(self.cards("scope"))

    @property
    def mode_chosen(self) -> str:
        """``server`` or ``account``."""
        return str(self["mode"].value() or self.fields["mode"].initial)

    @property
    def frequency_cards(self) -> list[dict[str, Any]]:
        """The frequencies."""
        return list(self.cards("frequency"))

    @property
    def keep_cards(self) -> list[dict[str, Any]]:
        """The two ways to keep."""
        return list(self.cards("keep_mode"))

    @property
    def rules(self) -> list[Any]:
        """The fields of the rules."""
        return [self[f"keep_{rule}"] for rule in RULES]

    @property
    def places(self) -> list[dict[str, Any]]:
        """The destinations with whether they are chosen."""
        given = self["destinations"].value() or []
        chosen = {str(getattr(each, "pk", each)) for each in given}
        rows = self.fields["destinations"].queryset  # type: ignore[attr-defined]
        return [{"row": row, "checked": str(row.pk) in chosen} for row in rows]


def usable_destinations(viewer: Any, schedule: Schedule | None = None) -> Any:
    """Return the destinations a viewer's schedule may choose: the host's, and those of accounts of his.

    What is a schedule's own is not among them.
    """
    whose = Q(account=None) | Q(account__in=Account.objects.visible_to(viewer).values("pk"))
    usable = whose & Q(is_enabled=True, read_only=False, removed_at=None)
    if schedule is not None:
        usable |= Q(pk__in=[destination.pk for destination in schedule.destinations.all()])
    free = Q(own_schedule=None) | Q(own_schedule__deleted_at__isnull=False)
    if schedule is not None:
        free &= ~Q(pk=schedule.own_storage_id)
    return Destination.objects.filter(usable, free).order_by("account_id", "name")


def timing_from(data: Any) -> Timing:
    """Return the rule that a form's data describe; what is missing is 0.  ValueError with a sentence."""

    def number(name: str, default: int) -> int:
        text = str(data.get(name) if data.get(name) is not None else "")
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 6 else default

    frequency = data.get("frequency") or "daily"
    if frequency not in Frequency.values:
        raise ValueError("Choose how often it runs.")
    return Timing(
        frequency=frequency,
        hour=number("hour", 0),
        minute=number("minute", 0),
        weekday=number("weekday", 0),
        day=number("day", 1),
        every=number("every", 1),
        custom=str(data.get("cron") or "").strip() if frequency == "custom" else "",
        zone=str(data.get("zone") or "UTC").strip(),
        jitter=max(0, min(720, number("jitter", 0))),
    )


def retention_from(data: Any) -> dict[str, int]:
    """Return the rules that a form's data describe; numbers that make no sense count as none."""

    def number(name: str) -> int:
        text = str(data.get(name) or "")
        return int(text) if text.isdecimal() and len(text) < 6 else 0

    if (data.get("keep_mode") or "count") == "count":
        return {"last": number("keep")} if number("keep") else {}
    return {rule: number(f"keep_{rule}") for rule in RULES if number(f"keep_{rule}")}


def checked_rules(data: Any) -> dict[str, int]:
    """Return the rules of a form's data.  Invalid, with a sentence, for none."""
    rules = retention_from(data)
    if not rules:
        raise Invalid("Say how many snapshots stay.")
    policy_of(rules)
    return rules


def initial_of(schedule: Schedule) -> dict[str, Any]:
    """Return what the form of a schedule begins with."""
    names = [field for field in ScheduleForm.base_fields if hasattr(schedule, field)]
    rules = schedule.retention
    count = set(rules) <= {"last"}
    return {name: getattr(schedule, name) for name in names} | {
        "account": schedule.account.uid if schedule.account else "",
        "destinations": schedule.destinations.exclude(pk=schedule.own_storage_id),
        "excludes": "\n".join(schedule.excludes),
        "mode": schedule.mode,
        "priority": schedule.priority if schedule.priority is not None else "",
        "keep_mode": "count" if count else "rules",
        "keep": rules.get("last") if count else sum(rules.values()),
        **{f"keep_{rule}": rules.get(rule, 0) for rule in RULES},
    }


def zone_names() -> list[str]:
    """Return the zones people live in, for a list to choose from."""
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "posix")))


def moment_words(run: datetime, *, twelve: bool) -> str:
    """Return a run of the preview: ``Sun, Nov 22, 3:00 AM``."""
    return f"{run:%a, %b} {run.day}, {time_of_day(run.hour, run.minute, twelve=twelve)}"
