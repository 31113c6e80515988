"""Forms about people and accounts.  They read; what is allowed, the services decide."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth.forms import PasswordChangeForm
from django.utils import timezone

from panel.accounts.choosing import one_of
from panel.accounts.models import Account, Package, PriorityGroup, Role, User
from panel.accounts.services.plans import NUMBERS, PERMISSIONS
from panel.accounts.services.tokens import SCOPES, TokenData


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """What people say of themselves."""

    class Meta:
        model = User
        fields = ["email", "zone", "clock", "shortcuts"]
        labels = {"email": "E-mail", "zone": "Time zone", "clock": "Clock", "shortcuts": "Single-key shortcuts"}
        help_texts = {
            "email": "For a new password, and for signing in if nobody else has it.",
            "zone": "Times are shown in it.",
            "shortcuts": "Such as / for the search and g o for the overview.",
        }

    def clean_zone(self) -> str:
        """Refuse what is no zone."""
        zone: str = self.cleaned_data["zone"]
        if zone not in available_timezones():
            raise forms.ValidationError("There is no such time zone; write one like Europe/Berlin.")
        return zone


class OwnPasswordForm(PasswordChangeForm):  # type: ignore[type-arg]
    """The old password and twice the new one."""

    field_order = ["old_password", "new_password1", "new_password2"]

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.fields["old_password"].label = "Present password"
        self.fields["old_password"].widget.attrs.pop("autofocus", None)
        self.fields["new_password1"].help_text = "At least 10 characters, not a common one, and not like your name."
        self.fields["new_password2"].label, self.fields["new_password2"].help_text = "The same again", ""

    error_messages = PasswordChangeForm.error_messages | {
        "password_incorrect": "This is not your present password.",
        "password_mismatch": "The two passwords are not the same.",
    }


class UserForm(forms.Form):
    """A person, made or changed.  Resellers see neither role nor reseller: theirs are their customers."""

    username = forms.CharField(label="User name", max_length=60)
    email = forms.EmailField(label="E-mail", required=False, help_text="Invitations and new passwords go there.")
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.END_USER)
    reseller = forms.ModelChoiceField(
        User.objects.none(), label="Customer of", required=False, empty_label="the administrator",
        help_text="For users only: this reseller sees and manages them.",
    )  # fmt: skip

    def __init__(self, *args: Any, viewer: User, **named: Any) -> None:
        super().__init__(*args, **named)
        resellers = User.objects.filter(role=Role.RESELLER).order_by("username")
        self.fields["reseller"] = one_of(self.fields["reseller"], resellers, "resellers")
        if not viewer.is_admin:
            del self.fields["role"], self.fields["reseller"]

    def changes(self) -> dict[str, Any]:
        """Return the fields; who is no user has no reseller."""
        values = dict(self.cleaned_data)
        if values.get("role", Role.END_USER) != Role.END_USER:
            values["reseller"] = None
        return values


class AccountForm(forms.Form):
    """What an administrator decides about an account; a reseller only whose it is."""

    name = forms.CharField(label="Name", max_length=60, help_text="As the server knows it. It does not change later.")
    home = forms.CharField(label="Home folder", max_length=500, help_text="The whole path, such as /home/alice.")
    system_user = forms.CharField(
        label="System user (optional)", max_length=60, required=False,
        help_text="Restores that customers start write as this user and nobody else.",
    )  # fmt: skip
    domain = forms.CharField(label="Main domain (optional)", max_length=253, required=False)
    domains = forms.CharField(
        label="More domains (optional)", required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line.",
    )  # fmt: skip
    owner = forms.ModelChoiceField(User.objects.none(), label="Owner", required=False, empty_label="nobody yet")
    reseller = forms.ModelChoiceField(User.objects.none(), label="Reseller", required=False, empty_label="none")
    package = forms.ModelChoiceField(Package.objects.all(), label="Package", empty_label=None)
    priority = forms.ModelChoiceField(PriorityGroup.objects.all(), label="Priority group", empty_label=None)

    def __init__(self, *args: Any, viewer: User, account: Account | None = None, **named: Any) -> None:
        super().__init__(*args, **named)
        people = User.objects.visible_to(viewer)
        owners = people.filter(is_active=True).order_by("username")
        resellers = people.filter(role=Role.RESELLER).order_by("username")
        self.fields["owner"] = one_of(self.fields["owner"], owners, "users")
        self.fields["reseller"] = one_of(self.fields["reseller"], resellers, "resellers")
        if account is not None:
            del self.fields["name"]
        if not viewer.is_admin:
            for name in [name for name in self.fields if name != "owner"]:
                del self.fields[name]

    def clean_domains(self) -> list[str]:
        """Return the lines."""
        return str(self.cleaned_data["domains"]).split()


class ReassignForm(forms.Form):
    """To whom the backups of a terminated account go."""

    target = forms.ModelChoiceField(Account.objects.none(), label="Account", empty_label="Choose…")

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        living = Account.objects.living().order_by("name", "id")
        self.fields["target"] = one_of(self.fields["target"], living, "accounts")


class PackageForm(forms.ModelForm):  # type: ignore[type-arg]
    """A package and what its accounts' owners may do."""

    class Meta:
        model = Package
        fields = ["name", *PERMISSIONS]
        help_texts = {
            "may_restore": "Put back files, databases and mail of their own account.",
            "may_download": "Have an archive built and fetch it.",
            "may_schedule": "Make schedules for their own account.",
            "may_use_api": "Make tokens for programs of their own.",
            "server_backups": "See and use what server-wide schedules stored of their account.",
            "custom_storage": "Enter S3, FTP or SFTP storage of their own. Off unless you want it.",
        }


class PriorityForm(forms.ModelForm):  # type: ignore[type-arg]
    """A priority group: four numbers, the lower goes first."""

    class Meta:
        model = PriorityGroup
        fields = ["name", *NUMBERS]


class TokenForm(forms.Form):
    """An API token; who is no administrator makes them for themselves."""

    description = forms.CharField(label="What it is for", max_length=120)
    user = forms.ModelChoiceField(
        User.objects.none(), label="Acts as", required=False, empty_label="any user, named by each call",
        help_text="Calls have this user's permissions and nothing more.",
    )  # fmt: skip
    scopes = forms.MultipleChoiceField(
        label="May", choices=list(SCOPES.items()), initial=["read"], widget=forms.CheckboxSelectMultiple
    )
    account = forms.ModelChoiceField(
        Account.objects.none(), label="Only this account", required=False, empty_label="all of the user's accounts"
    )
    addresses = forms.CharField(
        label="Only from (optional)", required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Addresses or networks, one a line, such as 203.0.113.7 or 203.0.113.0/24. Empty: from anywhere.",
    )  # fmt: skip
    days = forms.IntegerField(
        label="Ends after (optional)", required=False, min_value=1, max_value=3650, initial=365,
        help_text="Days from now. Empty: it never ends.",
    )  # fmt: skip

    def __init__(self, *args: Any, viewer: User, **named: Any) -> None:
        super().__init__(*args, **named)
        self._viewer = viewer
        accounts = Account.objects.visible_to(viewer).living().order_by("name")
        users = User.objects.filter(is_active=True).order_by("username")
        self.fields["account"] = one_of(self.fields["account"], accounts, "accounts")
        self.fields["user"] = one_of(self.fields["user"], users, "users")
        if not viewer.is_admin:
            del self.fields["user"]
            self.fields["scopes"].choices = [(key, SCOPES[key]) for key in ("read", "run")]  # type: ignore[attr-defined]

    def data_of(self) -> TokenData:
        """Return what the form says."""
        got = self.cleaned_data
        user = got["user"] if "user" in self.fields else self._viewer
        return TokenData(
            got["description"], user, got["scopes"], got["addresses"].splitlines(), got["account"], got["days"]
        )


def days_left(moment: Any) -> int | None:
    """Return the whole days until a moment, at least one; None for none."""
    return None if moment is None else max(1, (moment - timezone.now()).days + 1)
