"""Forms about people and accounts."""

from __future__ import annotations

from zoneinfo import available_timezones

from django import forms

from panel.accounts.models import Account, User


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """What people say of themselves."""

    class Meta:
        model = User
        fields = ["email", "zone", "shortcuts"]
        labels = {"zone": "Time zone", "shortcuts": "Single-key shortcuts"}

    def clean_zone(self) -> str:
        """Refuse what is no zone."""
        zone: str = self.cleaned_data["zone"]
        if zone not in available_timezones():
            raise forms.ValidationError("There is no such time zone; write one like Europe/Berlin.")
        return zone


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an administrator decides about an account."""

    class Meta:
        model = Account
        fields = ["domain", "owner", "reseller", "package", "priority", "status"]
