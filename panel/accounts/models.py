"""People, hosting accounts, and what accounts are grouped by."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from panel.core.ids import account_id
from panel.core.querysets import ScopedQuerySet


class Role(models.TextChoices):
    """What a person may do."""

    ADMIN = "admin", "Administrator"
    RESELLER = "reseller", "Reseller"
    END_USER = "end_user", "User"


class Clock(models.TextChoices):
    """How a person reads the time of day."""

    SERVER = "", "As the server's setting"
    TWELVE = "12", "12 hours (3:00 PM)"
    TWENTY_FOUR = "24", "24 hours (15:00)"


class UserQuerySet(ScopedQuerySet["User"]):
    """People, as far as a viewer knows them."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(pk=viewer.pk) | Q(reseller=viewer, role=Role.END_USER) if viewer.is_reseller else Q(pk=viewer.pk)

    def managed_by(self, viewer: Any) -> UserQuerySet:
        """Return those that ``viewer`` may change: everybody for an administrator, a reseller's own customers."""
        found = self.visible_to(viewer)
        return found if getattr(viewer, "is_admin", False) else found.exclude(pk=viewer.pk)


class UserManager(BaseUserManager["User"]):
    """Makes users."""

    def create_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        """Store a new user; without a password nobody can sign in as them."""
        user: User = self.model(username=self.model.normalize_username(username), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        """Find a user by name, whatever its case."""
        return self.get(username__iexact=username)


class User(AbstractBaseUser):
    """A person who signs in.  ``reseller`` is whose customer they are.

    ``totp_secret`` is closed with the installation's secret key; ``totp_step`` is the last step that was used, so
    that a code works once; ``recovery_codes`` are digests.
    """

    username = models.CharField(max_length=60, unique=True)
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.END_USER)
    is_active = models.BooleanField(default=True)
    zone = models.CharField(max_length=60, default="UTC")
    clock = models.CharField(max_length=2, blank=True, choices=Clock.choices, default=Clock.SERVER)
    shortcuts = models.BooleanField(default=True)
    reseller = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="customers")
    totp_secret = models.TextField(blank=True)
    totp_since = models.DateTimeField(null=True, blank=True)
    totp_step = models.BigIntegerField(default=0)
    recovery_codes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]
    objects = UserManager.from_queryset(UserQuerySet)()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("username"), name="user_name_any_case")]

    def __str__(self) -> str:
        return self.username

    def reads_twelve(self, setting: object) -> bool:
        """Whether times are shown with AM and PM, given the server's setting (``12`` or ``24``)."""
        return (self.clock or setting) == Clock.TWELVE

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator."""
        return self.role == Role.ADMIN

    @property
    def is_reseller(self) -> bool:
        """Whether this is a reseller."""
        return self.role == Role.RESELLER

    @property
    def rank(self) -> int:
        """How much they may do; nobody acts as somebody of an equal or higher rank."""
        return {Role.ADMIN: 3, Role.RESELLER: 2}.get(Role(self.role), 1)

    @property
    def two_factor(self) -> bool:
        """Whether signing in asks for a code."""
        return self.totp_since is not None


class Server(models.Model):
    """A machine whose accounts are backed up.  ``name`` is what snapshots call it, for ever."""

    name = models.CharField(max_length=100, unique=True)
    queue = models.CharField(max_length=100, default="server.local")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class PriorityGroup(models.Model):
    """An order among accounts; a lower number goes first."""

    name = models.CharField(max_length=60, unique=True)
    backup = models.PositiveSmallIntegerField(default=50)
    restore = models.PositiveSmallIntegerField(default=50)
    download = models.PositiveSmallIntegerField(default=50)
    clone = models.PositiveSmallIntegerField(default=50)
    is_default = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="one_default_priority")
        ]

    def __str__(self) -> str:
        return self.name


class Package(models.Model):
    """A hosting plan: what its accounts' owners may do."""

    name = models.CharField(max_length=60, unique=True)
    may_restore = models.BooleanField("Restore", default=True)
    may_download = models.BooleanField("Download", default=True)
    may_schedule = models.BooleanField("Own schedules", default=True)
    may_use_api = models.BooleanField("API tokens", default=True)
    server_backups = models.BooleanField("See server backups", default=True)
    custom_storage = models.BooleanField("Custom Backup Storage (S3/FTP)", default=False)

    def __str__(self) -> str:
        return self.name


class AccountStatus(models.TextChoices):
    """The state of a hosting account."""

    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    TERMINATED = "terminated", "Terminated"


class AccountQuerySet(ScopedQuerySet["Account"]):
    """Hosting accounts, as far as a viewer knows them."""

    def _owned_by(self, viewer: Any) -> Q:
        mine = Q(owner=viewer) | Q(reseller=viewer) if viewer.is_reseller else Q(owner=viewer)
        return mine & ~Q(status=AccountStatus.TERMINATED)

    def living(self) -> AccountQuerySet:
        """Return those that are not terminated."""
        return self.exclude(status=AccountStatus.TERMINATED)


class Account(models.Model):
    """One hosting customer on a server.  ``uid`` is the immutable id that paths, tags and repositories carry."""

    uid = models.CharField(max_length=40, unique=True, editable=False)
    name = models.CharField(max_length=60)
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="accounts")
    system_user = models.CharField(max_length=60, blank=True)
    system_uid = models.PositiveIntegerField(null=True, blank=True)
    system_gid = models.PositiveIntegerField(null=True, blank=True)
    home = models.CharField(max_length=500)
    domain = models.CharField(max_length=253, blank=True)
    domains = models.JSONField(default=list, blank=True)
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="accounts")
    reseller = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="sold_accounts")
    package = models.ForeignKey(Package, on_delete=models.PROTECT, related_name="accounts")
    priority = models.ForeignKey(PriorityGroup, on_delete=models.PROTECT, related_name="accounts")
    status = models.CharField(max_length=12, choices=AccountStatus.choices, default=AccountStatus.ACTIVE)
    source = models.CharField(max_length=12, default="hand")
    disk_bytes = models.BigIntegerField(null=True, blank=True)
    inodes = models.BigIntegerField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    suspended_for = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    terminated_at = models.DateTimeField(null=True, blank=True)

    objects = AccountQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "name"], condition=~Q(status="terminated"), name="living_account_name"
            )
        ]
        indexes = [models.Index(fields=["name", "id"], name="account_by_name")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **options: Any) -> None:
        """Give a new account its id; it never changes."""
        if not self.uid:
            self.uid = account_id(self.name)
        super().save(*args, **options)


class ApiTokenQuerySet(ScopedQuerySet["ApiToken"]):
    """Tokens, as far as a viewer knows them."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(user=viewer)


class ApiToken(models.Model):
    """A secret for programs; only its digest is stored.

    ``user`` is whom its calls act as; empty = any user, named by the call.  ``account`` narrows it to one hosting
    account, ``addresses`` to some callers.
    """

    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    created_by = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    description = models.CharField(max_length=120)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    addresses = models.JSONField(default=list)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_ip = models.GenericIPAddressField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.description

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()


class SignInLink(models.Model):
    """A link that signs somebody in once: an invitation, a reset, or a hosting panel's request."""

    class Purpose(models.TextChoices):
        """Why it was made."""

        INVITATION = "invitation"
        RESET = "reset"
        SSO = "sso"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="links")
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    digest = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)


class Letter(models.Model):
    """A mail to somebody about signing in, from its order to its delivery.

    The text holds a secret link, so it is sealed for the worker and dropped when the mail is out.
    """

    class State(models.TextChoices):
        """How it stands."""

        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Being sent"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="letters")
    to = models.EmailField()
    subject = models.CharField(max_length=200)
    sealed = models.TextField(blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["due_at"], condition=Q(state__in=["waiting", "sending"]), name="letter_due")]


class Session(AbstractBaseSession):
    """A browser that is signed in."""

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="sessions")
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(null=True)

    objects = BaseSessionManager()

    @classmethod
    def get_session_store_class(cls) -> Any:
        """Return the store that keeps such rows."""
        from panel.accounts.sessions import SessionStore

        return SessionStore
