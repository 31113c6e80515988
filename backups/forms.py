"""The schedule form."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms

from backups.models import CatchUp, Frequency, Overlap, Scope
from backups.selectors import COMPONENTS
from backups.timing import WEEKDAYS
from destinations.models import Destination
from panel.accounts.models import Account

_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class ScheduleForm(forms.Form):
    """What · When · Keep · Where."""

    name = forms.CharField(max_length=100)
    mode = forms.ChoiceField(choices=[("server", "Entire server"), ("account", "Single customer")], initial="server")
    account = forms.ModelChoiceField(Account.objects.none(), required=False, empty_label="Choose an account")
    scope = forms.ChoiceField(choices=[(code, Scope(code).label) for code in COMPONENTS], initial="full")
    frequency = forms.ChoiceField(choices=Frequency.choices, initial="daily")
    hour = forms.IntegerField(min_value=0, max_value=23, initial=3, required=False)
    minute = forms.IntegerField(min_value=0, max_value=59, initial=0, required=False)
    weekday = forms.TypedChoiceField(choices=list(enumerate(WEEKDAYS)), coerce=int, initial=0, required=False)
    day = forms.IntegerField(min_value=1, max_value=28, initial=1, required=False)
    zone = forms.CharField(initial="UTC", label="Time zone")
    catch_up = forms.ChoiceField(choices=CatchUp.choices, initial="once", label="After downtime")
    overlap = forms.ChoiceField(choices=Overlap.choices, initial="skip", label="If the run before still goes on")
    keep = forms.IntegerField(min_value=1, max_value=10000, label="Snapshots to keep")
    excludes = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False, label="Leave out (optional)")
    destinations = forms.ModelMultipleChoiceField(Destination.objects.none(), widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, viewer: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        accounts = Account.objects.visible_to(viewer).living()
        self.fields["account"].queryset = accounts  # type: ignore[attr-defined]
        usable = Destination.objects.filter(is_enabled=True, read_only=False, account=None)
        self.fields["destinations"].queryset = usable  # type: ignore[attr-defined]
        if not viewer.is_admin:
            self.fields["mode"].choices = [("account", "Single customer")]  # type: ignore[attr-defined]
            self.fields["mode"].initial = "account"

    def clean_zone(self) -> str:
        """Refuse what is no zone."""
        zone: str = self.cleaned_data["zone"]
        if zone not in available_timezones():
            raise forms.ValidationError("There is no such time zone; write one like Europe/Berlin.")
        return zone

    def clean(self) -> dict[str, Any]:
        """Ask for an account where one is needed; fill in what was left empty."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("mode") == "account" and not data.get("account"):
            self.add_error("account", "Choose an account.")
        for name, default in (("hour", 0), ("minute", 0), ("day", 1), ("weekday", 0)):
            if data.get(name) in (None, ""):
                data[name] = default
        return data

    def values(self) -> dict[str, Any]:
        """Return the fields of the row."""
        data = self.cleaned_data
        names = ("name", "scope", "frequency", "hour", "minute", "weekday", "day", "zone", "catch_up", "overlap")
        excludes = [line.strip() for line in data["excludes"].splitlines() if line.strip()]
        return {name: data[name] for name in names} | {"retention": {"last": data["keep"]}, "excludes": excludes}
