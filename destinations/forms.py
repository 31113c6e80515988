"""The destination forms: one for each kind, with the fields that the kind has and no others."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms

from destinations.models import Destination
from destinations.sealing import SECRETS
from destinations.services import DestinationData

FRAMES = 3
_MB = 1_000_000
_DAYS = {"": tuple(range(7)), "work": tuple(range(5)), "rest": (5, 6)}
_DAY_CHOICES = [("", "Every day"), ("work", "Monday to Friday"), ("rest", "Saturday and Sunday")]
_KEPT = "Saved, not shown. Type to replace."


class SecretField(forms.CharField):
    """A secret that is typed, never shown: what is stored stays unless something is typed."""

    def __init__(self, *, lines: int = 0, **options: Any) -> None:
        attrs = {"autocomplete": "new-password", "spellcheck": "false"}
        widget: Any = forms.Textarea(attrs | {"rows": lines}) if lines else forms.PasswordInput(attrs)
        super().__init__(required=False, strip=False, widget=widget, **options)


class RateField(forms.FloatField):
    """Megabytes a second; bytes a second in the configuration."""

    def __init__(self, **options: Any) -> None:
        widget = forms.NumberInput(attrs={"step": "0.1", "inputmode": "decimal"})
        super().__init__(required=False, min_value=0, max_value=100_000, initial=0, widget=widget, **options)

    def clean(self, value: Any) -> int:
        """Return bytes a second."""
        return round((super().clean(value) or 0) * _MB)


class DestinationForm(forms.Form):
    """What every kind has.  ``plain`` names the fields that go into the configuration as they are."""

    kind = ""
    plain: tuple[str, ...] = ("disk_limit", "up", "down")
    name = forms.CharField(max_length=40, help_text="Up to 40 characters, for you.")
    is_enabled = forms.BooleanField(
        required=False, initial=True, label="Used by schedules", help_text="Off: runs leave it out and say so."
    )
    read_only = forms.BooleanField(
        required=False,
        label="Read-only",
        help_text="Restore, browse and download only; nothing is written there, not even a lock.",
    )
    disk_limit = forms.IntegerField(
        min_value=0,
        max_value=100,
        initial=95,
        label="Stop new backups at",
        help_text="Percent of the space used; 0 = no limit. A server that does not tell its space has none.",
    )
    up = RateField(label="Upload", help_text="0 = no limit")
    down = RateField(label="Download", help_text="0 = no limit")
    zone = forms.CharField(initial="UTC", required=False, label="Time zone of the times of day")

    def __init__(self, *args: Any, destination: Destination | None = None, customer: bool = False, **kw: Any) -> None:
        self.destination = destination
        if destination is not None:
            kw["initial"] = self._of(destination)
        super().__init__(*args, **kw)
        for number in range(1, FRAMES + 1):
            self._add_frame(number)
        if customer:
            for name in ("agent",):
                self.fields.pop(name, None)
        stored = destination.sealed if destination else {}
        for name in SECRETS[self.kind]:
            if stored.get(name):
                self.fields[name].widget.attrs["placeholder"] = _KEPT

    def _add_frame(self, number: int) -> None:
        time = forms.TimeInput(attrs={"type": "time"}, format="%H:%M")
        fields: dict[str, forms.Field] = {
            "start": forms.TimeField(required=False, widget=time, label="From"),
            "end": forms.TimeField(required=False, widget=time, label="To"),
            "days": forms.ChoiceField(required=False, choices=_DAY_CHOICES, label="On"),
            "up": RateField(label="Upload"),
            "down": RateField(label="Download"),
        }
        for name, field in fields.items():
            self.fields[f"frame{number}_{name}"] = field

    def frames(self) -> list[list[Any]]:
        """Return the bound fields of the times of day, a row each."""
        parts = ("start", "end", "days", "up", "down")
        return [[self[f"frame{number}_{part}"] for part in parts] for number in range(1, FRAMES + 1)]

    def clean_zone(self) -> str:
        """Refuse what is no zone."""
        zone: str = self.cleaned_data["zone"] or "UTC"
        if zone not in available_timezones():
            raise forms.ValidationError("There is no such time zone; write one like Europe/Berlin.")
        return zone

    def clean(self) -> dict[str, Any]:
        """Ask for both ends of a time of day."""
        data: dict[str, Any] = super().clean() or {}
        for number in range(1, FRAMES + 1):
            start, end = data.get(f"frame{number}_start"), data.get(f"frame{number}_end")
            if (start is None) != (end is None):
                self.add_error(f"frame{number}_{'end' if end is None else 'start'}", "Give both ends.")
            elif start is not None and start == end:
                self.add_error(f"frame{number}_end", "The end is not the beginning.")
        return data

    def data_for(self, account: Any) -> DestinationData:
        """Return what the service wants."""
        data = self.cleaned_data
        config = {name: data[name] for name in self.plain} | self._more(data)
        if frames := self._frames(data):
            config |= {"frames": frames, "zone": data["zone"]}
        secrets: dict[str, str | None] = {name: data[name] for name in SECRETS[self.kind] if data[name]}
        for name in SECRETS[self.kind]:
            if data.get(f"forget_{name}") and name not in secrets:
                secrets[name] = None
        return DestinationData(self.kind, data["name"], config, secrets, account, data["read_only"], data["is_enabled"])

    def _more(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the parts of the configuration that are not a field as it is."""
        del data
        return {}

    def _frames(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for number in range(1, FRAMES + 1):
            part = {name: data[f"frame{number}_{name}"] for name in ("start", "end", "days", "up", "down")}
            if part["start"] is not None:
                times = {name: part[name].strftime("%H:%M") for name in ("start", "end")}
                found.append(times | {"days": list(_DAYS[part["days"]]), "up": part["up"], "down": part["down"]})
        return found

    def _of(self, destination: Destination) -> dict[str, Any]:
        """Return the fields of a stored destination."""
        config = destination.config
        initial = {
            name: config.get(name, self.base_fields[name].initial) for name in self.base_fields if name in config
        }
        initial |= {name: getattr(destination, name) for name in ("name", "is_enabled", "read_only")}
        initial |= {name: _megabytes(config.get(name, 0)) for name in ("up", "down")}
        initial["disk_limit"] = config.get("disk_limit", 0)
        for number, frame in enumerate(config.get("frames", ())[:FRAMES], 1):
            days = next((code for code, days in _DAYS.items() if list(days) == frame["days"]), "")
            shown = {"start": frame["start"], "end": frame["end"], "days": days}
            shown |= {name: _megabytes(frame[name]) for name in ("up", "down")}
            initial |= {f"frame{number}_{name}": value for name, value in shown.items()}
        return initial


def _megabytes(rate: int) -> float:
    """Return a rate as the page shows it, without a needless point."""
    value = rate / _MB
    return int(value) if value.is_integer() else value


class LocalForm(DestinationForm):
    """A folder of this server."""

    kind = "local"
    plain = (*DestinationForm.plain, "path")
    path = forms.CharField(
        max_length=400, label="Folder", help_text="On a disk that is not the one you back up, if you can."
    )


class RemoteForm(DestinationForm):
    """What every kind with a server has."""

    plain = (*DestinationForm.plain, "timeout", "retries", "connections")
    timeout = forms.IntegerField(
        min_value=1, max_value=3600, initial=30, label="Connection timeout", help_text="Raise it on a poor link."
    )
    retries = forms.IntegerField(
        min_value=0, max_value=1000, initial=5, label="Retries", help_text="0 = without limit: it waits for the server."
    )
    connections = forms.IntegerField(
        min_value=0, max_value=400, initial=3, label="Connections", help_text="0 = without limit"
    )


class LogInForm(RemoteForm):
    """What FTP and SFTP share."""

    plain = (*RemoteForm.plain, "host", "port", "user", "path")
    host = forms.CharField(max_length=253, label="Remote host")
    port = forms.IntegerField(min_value=1, max_value=65535)
    user = forms.CharField(max_length=100, label="Remote user", help_text="A user for backups only, not root.")
    path = forms.CharField(
        max_length=300,
        required=False,
        label="Backup directory",
        help_text="From the remote user's home; with / in front from the root.",
    )
    password = SecretField(label="Password", help_text="Sealed when saved; this page cannot read it.")


def _pins() -> forms.CharField:
    return forms.CharField(
        required=False,
        label="Pinned certificates (optional)",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="SHA-256 fingerprints, one a line. With a pin, no authority is asked: only this certificate counts.",
    )


def _authority() -> forms.CharField:
    return forms.CharField(
        required=False,
        label="Own certificate authority (optional)",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="PEM; trusted for this destination only, instead of the system's.",
    )


def _verify() -> forms.BooleanField:
    return forms.BooleanField(
        required=False,
        initial=True,
        label="Verify the certificate",
        help_text="Off, anybody in between can read and change everything. Pin the certificate instead.",
    )


class TlsParts:
    """What is common to kinds with certificates."""

    @staticmethod
    def tls_config(data: dict[str, Any]) -> dict[str, Any]:
        """Return the certificates' part of the configuration."""
        pins = [word for word in data["pins"].replace(",", "\n").splitlines() if word.strip()]
        return {"verify": data["verify"], "ca": data["ca"].strip(), "pins": [pin.strip() for pin in pins]}


class FtpForm(LogInForm, TlsParts):
    """A server that speaks FTP."""

    kind = "ftp"
    plain = (*LogInForm.plain, "tls", "passive")
    tls = forms.BooleanField(
        required=False,
        initial=True,
        label="Encrypted connection (explicit TLS)",
        help_text="Off, the password and the names of files travel in the clear; every pack is read back.",
    )
    passive = forms.BooleanField(
        required=False,
        initial=True,
        label="Passive mode",
        help_text="Off, the server connects back to this one, which firewalls tend to block.",
    )
    read_back = forms.ChoiceField(
        required=False,
        choices=[("", "Only without TLS"), ("yes", "Always"), ("no", "Never")],
        label="Read packs back before they count",
    )
    verify, ca, pins = _verify(), _authority(), _pins()

    def _more(self, data: dict[str, Any]) -> dict[str, Any]:
        read_back = {"yes": {"read_back": True}, "no": {"read_back": False}}.get(data["read_back"], {})
        return self.tls_config(data) | read_back

    def _of(self, destination: Destination) -> dict[str, Any]:
        stored = destination.config.get("read_back")
        word = {True: "yes", False: "no"}.get(stored, "") if stored is not None else ""
        return super()._of(destination) | {
            "read_back": word,
            "pins": "\n".join(destination.config.get("pins", ())),
        }


class SftpForm(LogInForm):
    """A server that speaks SFTP."""

    kind = "sftp"
    plain = LogInForm.plain
    forget_password = forms.BooleanField(required=False, label="Forget the stored password")
    private_key = SecretField(
        lines=3, label="Private key (optional)", help_text="OpenSSH or PEM. Or let the test install one of ours."
    )
    passphrase = SecretField(label="Passphrase of the key (optional)")
    forget_private_key = forms.BooleanField(required=False, label="Forget the stored key")
    agent = forms.BooleanField(
        required=False, label="Use the ssh agent of the worker", help_text="Its keys are tried besides the above."
    )
    unpin = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label="Forget a confirmed identity"
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        stored = self.destination.sealed if self.destination else {}
        for name in ("password", "private_key"):
            if not stored.get(name):
                del self.fields[f"forget_{name}"]
        known = self.destination.config.get("host_keys", ()) if self.destination else ()
        self.fields["unpin"].choices = [(pin, pin) for pin in known]  # type: ignore[attr-defined]
        if not known:
            del self.fields["unpin"]

    def _more(self, data: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {"agent": True} if data.get("agent") else {}
        if unpinned := data.get("unpin"):
            known = self.destination.config.get("host_keys", ()) if self.destination else ()
            more["host_keys"] = [pin for pin in known if pin not in unpinned]
        return more


class S3Form(RemoteForm, TlsParts):
    """A bucket of a service that speaks S3."""

    kind = "s3"
    plain = (*RemoteForm.plain, "endpoint", "region", "bucket", "prefix", "access_key", "addressing", "storage_class",
             "create_bucket", "object_lock", "object_lock_days")  # fmt: skip
    endpoint = forms.CharField(
        max_length=300,
        required=False,
        help_text="https://s3.eu-central-1.amazonaws.com, or your provider's. Empty: the global setting.",
    )
    region = forms.CharField(max_length=60, required=False, help_text="Empty: the global setting.")
    bucket = forms.CharField(max_length=255)
    prefix = forms.CharField(max_length=300, required=False, label="Path in the bucket (optional)")
    access_key = forms.CharField(max_length=200, required=False, help_text="Empty: the global keys are used.")
    secret_key = SecretField(label="Secret key", help_text="Sealed when saved; this page cannot read it.")
    addressing = forms.ChoiceField(
        choices=[("auto", "Automatic"), ("path", "In the path"), ("virtual", "In the host name")],
        label="Bucket's name goes",
    )
    storage_class = forms.CharField(
        max_length=40, required=False, label="Storage class (optional)", help_text="Such as STANDARD_IA."
    )
    part_size = forms.IntegerField(
        min_value=5, max_value=5120, initial=200, label="Part size", help_text="Larger objects are sent in parts."
    )
    create_bucket = forms.BooleanField(required=False, label="Create the bucket if it is missing")
    object_lock = forms.ChoiceField(
        required=False,
        choices=[("", "Off"), ("GOVERNANCE", "Governance"), ("COMPLIANCE", "Compliance")],
        label="Object lock",
        help_text="Nobody deletes an object before its time; compliance binds you too.",
    )
    object_lock_days = forms.IntegerField(min_value=0, max_value=3650, initial=0, label="Keep locked for")
    verify, ca, pins = _verify(), _authority(), _pins()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["connections"].initial = 5

    def _more(self, data: dict[str, Any]) -> dict[str, Any]:
        return self.tls_config(data) | {"part_size": data["part_size"] << 20}

    def _of(self, destination: Destination) -> dict[str, Any]:
        return super()._of(destination) | {
            "part_size": destination.config.get("part_size", 200 << 20) >> 20,
            "pins": "\n".join(destination.config.get("pins", ())),
        }


class S3DefaultsForm(forms.Form):
    """The global S3 settings."""

    endpoint = forms.CharField(max_length=300, required=False, help_text="Such as https://s3.amazonaws.com.")
    region = forms.CharField(max_length=60, required=False)
    access_key = forms.CharField(max_length=200, required=False)
    secret_key = SecretField(label="Secret key", help_text="Sealed when saved; this page cannot read it.")


FORMS: dict[str, type[DestinationForm]] = {
    form.kind: form
    for form in (LocalForm, S3Form, SftpForm, FtpForm)  # type: ignore[type-abstract]
}
"""Kind → its form, in the order of the page."""


def new_form(kind: str, *args: Any, **options: Any) -> DestinationForm:
    """Return the form of a kind with its defaults."""
    form = FORMS[kind](*args, **options)
    if "port" in form.fields and not form.destination:
        form.fields["port"].initial = 22 if kind == "sftp" else 21
    if kind == "sftp" and not form.destination:
        form.fields["connections"].initial = 5
    return form
