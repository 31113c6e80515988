"""The part of the schedule form for storage of the schedule's own: S3, SFTP or FTP."""

from __future__ import annotations

from typing import Any

from django import forms

from backups.services.own_storage import OwnStorage
from destinations.forms import SecretField, new_form
from destinations.models import Destination
from destinations.sealing import SECRETS

_SEALED = "Saved, not shown. Type to replace."
_PORTS = {"sftp": 22, "ftp": 21}
FIELDS: dict[str, tuple[str, ...]] = {
    "": (),
    "s3": ("endpoint", "access_key", "bucket", "prefix"),
    "sftp": ("host", "port", "user", "path"),
    "ftp": ("host", "port", "user", "path", "tls"),
}
"""Kind → the settings that are entered here; the destination's own page has all."""
_NEEDED = {"s3": ("bucket",), "sftp": ("host", "user"), "ftp": ("host", "user")}


class OwnStorageForm(forms.Form):
    """Where this schedule goes besides, or instead of, the destinations above."""

    kind = forms.ChoiceField(
        choices=[("", "None"), ("s3", "S3"), ("sftp", "SFTP"), ("ftp", "FTP")], required=False, initial=""
    )
    endpoint = forms.CharField(max_length=300, required=False, help_text="Empty: the global setting.")
    bucket = forms.CharField(max_length=255, required=False)
    prefix = forms.CharField(max_length=300, required=False, label="Path in the bucket (optional)")
    access_key = forms.CharField(max_length=200, required=False, help_text="Empty: the global keys are used.")
    secret_key = SecretField(label="Secret key", help_text="Sealed when saved; this page cannot read it.")
    host = forms.CharField(max_length=253, required=False)
    port = forms.IntegerField(min_value=1, max_value=65535, required=False, help_text="Empty: 22, for FTP 21.")
    user = forms.CharField(max_length=100, required=False)
    password = SecretField(label="Password", help_text="Sealed when saved; this page cannot read it.")
    path = forms.CharField(
        max_length=300, required=False, label="Path (optional)", help_text="From the user's home; with / from the root."
    )
    tls = forms.BooleanField(required=False, initial=True, label="Encrypted connection (explicit TLS)")

    def __init__(self, *args: Any, own: Destination | None, **options: Any) -> None:
        if own is not None:
            options["initial"] = {"kind": own.kind} | {name: own.config.get(name, "") for name in FIELDS[own.kind]}
        super().__init__(*args, prefix="own", **options)
        self.own = own
        for name in ("secret_key", "password"):
            if own is not None and own.sealed.get(name):
                self.fields[name].widget.attrs["placeholder"] = _SEALED

    @property
    def chosen(self) -> str:
        """The kind that is chosen."""
        return str(self["kind"].value() or "")

    def clean(self) -> dict[str, Any]:
        """Ask for what the kind needs."""
        data: dict[str, Any] = super().clean() or {}
        for name in _NEEDED.get(data.get("kind", ""), ()):
            if not data.get(name) and name not in self.errors:
                self.add_error(name, "Fill this in.")
        return data

    def storage(self) -> OwnStorage:
        """Return what was entered; a new storage begins like a new destination."""
        data = self.cleaned_data
        kind = data["kind"]
        config = {name: data[name] for name in FIELDS[kind]}
        if "port" in config:
            config["port"] = config["port"] or _PORTS[kind]
        if kind and (self.own is None or self.own.kind != kind):
            form = new_form(kind)
            first = {name: form.fields[name].initial for name in form.plain}
            config = {name: value for name, value in first.items() if value is not None} | config
        secrets = {name: data[name] for name in SECRETS[kind] if data.get(name)} if kind else {}
        return OwnStorage(kind, config, secrets)
