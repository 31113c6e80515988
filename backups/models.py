"""Schedules, repositories, and the snapshots in them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from destinations.models import Destination
from panel.accounts.models import Account, Server
from panel.core.querysets import ScopedQuerySet
from worker.models import Job


class Scope(models.TextChoices):
    """What a schedule backs up."""

    FULL = "full", "Full"
    WEB = "web", "Web"
    DB = "db", "Databases"
    MAIL = "mail", "Mail"
    SSL = "ssl", "Certificates"
    CONFIG = "config", "Configuration"


class Frequency(models.TextChoices):
    """How often a schedule runs."""

    HOURLY = "hourly", "Hourly"
    DAILY = "daily", "Daily"
    WEEKLY = "weekly", "Weekly"
    MONTHLY = "monthly", "Monthly"
    CUSTOM = "custom", "Custom"
    MANUAL = "manual", "By hand"


class CatchUp(models.TextChoices):
    """What happens to a run that was missed."""

    ONCE = "once", "Catch up once"
    SKIP = "skip", "Skip it"
    REPORT = "report", "Report it as overdue"


class Overlap(models.TextChoices):
    """What happens when a run is due while the one before still goes on."""

    SKIP = "skip", "Skip the new one"
    QUEUE = "queue", "Start it afterwards"


class SnapshotKind(models.TextChoices):
    """Why a snapshot was made."""

    SCHEDULED = "scheduled", "Scheduled"
    MANUAL = "manual", "Manual"
    ON_DEMAND = "on-demand", "On demand"
    SAFETY = "safety", "Safety"
    FOREIGN = "foreign", "From elsewhere"


class MarkedWhy(models.TextChoices):
    """Why a snapshot is to go."""

    RETENTION = "retention", "Not kept by its schedule's rules"
    SCHEDULE = "schedule", "Deleted with its schedule"
    PERSON = "person", "Deleted by somebody"


class ScheduleQuerySet(ScopedQuerySet["Schedule"]):
    """Schedules, as far as a viewer knows them: those of their own accounts, never server-wide ones."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(account__in=Account.objects.visible_to(viewer))

    def present(self) -> ScheduleQuerySet:
        """Return those that were not deleted."""
        return self.filter(deleted_at=None)


class Schedule(models.Model):
    """What is backed up, where to, when, and how long it is kept.  ``account`` empty = the entire server.

    ``every`` counts hours (of ``hourly``), ``cron`` is the rule of ``custom``; ``jitter``, ``window`` and ``grace`` are
    minutes.  ``priority`` replaces that of the accounts' groups.  ``sealed_next_key`` is there while the key changes.
    ``own_storage`` is one of its destinations, entered in its form and used by no other schedule.
    """

    name = models.CharField(max_length=100)
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="schedules")
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="schedules")
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.FULL)
    frequency = models.CharField(max_length=8, choices=Frequency.choices, default=Frequency.DAILY)
    hour = models.PositiveSmallIntegerField(default=3)
    minute = models.PositiveSmallIntegerField(default=0)
    weekday = models.PositiveSmallIntegerField(default=0)
    day = models.PositiveSmallIntegerField(default=1)
    every = models.PositiveSmallIntegerField(default=1)
    cron = models.CharField(max_length=120, blank=True)
    zone = models.CharField(max_length=60, default="UTC")
    jitter = models.PositiveSmallIntegerField(default=0)
    window = models.PositiveSmallIntegerField(default=0)
    grace = models.PositiveSmallIntegerField(default=120)
    catch_up = models.CharField(max_length=6, choices=CatchUp.choices, default=CatchUp.ONCE)
    overlap = models.CharField(max_length=5, choices=Overlap.choices, default=Overlap.SKIP)
    priority = models.PositiveSmallIntegerField(null=True, blank=True)
    retention = models.JSONField(default=dict)
    excludes = models.JSONField(default=list, blank=True)
    is_enabled = models.BooleanField(default=True)
    next_run_at = models.DateTimeField(null=True)
    overdue_since = models.DateTimeField(null=True)
    sealed_key = models.TextField(blank=True)
    sealed_next_key = models.TextField(blank=True)
    key_fingerprint = models.CharField(max_length=9, blank=True)
    key_made_at = models.DateTimeField(null=True)
    key_saved_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)
    destinations = models.ManyToManyField(Destination, related_name="schedules")
    own_storage = models.OneToOneField(Destination, null=True, on_delete=models.SET_NULL, related_name="own_schedule")

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(is_enabled=True, deleted_at=None), name="schedule_due")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def mode(self) -> str:
        """``server`` or ``account``."""
        return "account" if self.account_id else "server"


class OldKey(models.Model):
    """A key that a schedule no longer uses; it is kept so that nothing it opens is lost."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="old_keys")
    sealed_key = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=9)
    made_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True)


class RepositoryQuerySet(ScopedQuerySet["Repository"]):
    """Repositories, as far as a viewer knows them: those of one account."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(account__in=Account.objects.visible_to(viewer))


class Repository(models.Model):
    """All objects of one key domain at one destination: (destination, path)."""

    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="repositories")
    path = models.CharField(max_length=200)
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="repositories")
    repository_id = models.CharField(max_length=64, blank=True)
    sealed_key = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    checked_at = models.DateTimeField(null=True)
    cleaned_at = models.DateTimeField(null=True)
    stored_bytes = models.BigIntegerField(null=True)
    is_damaged = models.BooleanField(default=False)

    objects = RepositoryQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["destination", "path"], name="repository_place")]

    @property
    def lease(self) -> str:
        """The key of its leases."""
        return f"repository:{self.pk}"

    @property
    def birth(self) -> str:
        """The key of the lease under which it is made."""
        return f"birth:{self.pk}"


class SnapshotQuerySet(ScopedQuerySet["Snapshot"]):
    """Snapshots, as far as a viewer knows them.

    A customer sees those of his own account, in a server-wide repository only if his package says so, and not
    those that are marked or set aside.
    """

    def _owned_by(self, viewer: Any) -> Q:
        mine = Account.objects.visible_to(viewer)
        allowed = Q(repository__account__isnull=False) | Q(account__package__server_backups=True)
        return Q(account__in=mine, removed_at=None, damaged_at=None) & allowed

    def present(self) -> SnapshotQuerySet:
        """Return those that were not removed."""
        return self.filter(removed_at=None)

    def good(self) -> SnapshotQuerySet:
        """Return what an account can be brought back from; what a restore replaced is a few paths at most."""
        whole = self.present().filter(damaged_at=None, is_hollow=False)
        return whole.exclude(kind=SnapshotKind.SAFETY)


class Snapshot(models.Model):
    """The state of one account at one moment, at one destination.

    ``mount`` is where the disk is mounted that the home lay on.  ``is_hollow`` says that the home had become empty, as
    if its disk were not there: such a snapshot pushes no other one out.
    """

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="snapshots")
    snapshot_id = models.CharField(max_length=64)
    original = models.CharField(max_length=64, blank=True, db_index=True)
    tree = models.CharField(max_length=64)
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="snapshots")
    schedule = models.ForeignKey(Schedule, null=True, on_delete=models.SET_NULL, related_name="snapshots")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="snapshots")
    kind = models.CharField(max_length=10, choices=SnapshotKind.choices, default=SnapshotKind.SCHEDULED)
    scope = models.CharField(max_length=8, choices=Scope.choices)
    components = models.JSONField(default=list)
    taken_at = models.DateTimeField()
    files = models.BigIntegerField(default=0)
    size = models.BigIntegerField(default=0)
    added = models.BigIntegerField(default=0)
    note = models.CharField(max_length=200, blank=True)
    locked_until = models.DateTimeField(null=True)
    damaged_at = models.DateTimeField(null=True)
    proven_at = models.DateTimeField(null=True)
    mount = models.CharField(max_length=500, blank=True, db_default="")
    is_hollow = models.BooleanField(default=False, db_default=False)
    marked_at = models.DateTimeField(null=True)
    marked_why = models.CharField(max_length=12, blank=True, choices=MarkedWhy.choices)
    removed_at = models.DateTimeField(null=True)

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-taken_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["repository", "snapshot_id"], name="snapshot_in_repository")]
        indexes = [
            models.Index(fields=["account", "-taken_at"], name="snapshot_account"),
            models.Index(fields=["schedule", "-taken_at"], name="snapshot_schedule"),
            models.Index(fields=["-taken_at", "-id"], condition=Q(removed_at=None), name="snapshot_newest"),
            models.Index(fields=["-damaged_at"], condition=Q(damaged_at__isnull=False), name="snapshot_damaged"),
            models.Index(
                fields=["account", "-proven_at"], condition=Q(proven_at__isnull=False), name="snapshot_proven"
            ),
            models.Index(
                fields=["marked_at"], condition=Q(marked_at__isnull=False, removed_at=None), name="snapshot_marked"
            ),
            models.Index(fields=["taken_at"], condition=Q(kind="safety", removed_at=None), name="snapshot_safety"),
        ]

    @property
    def short(self) -> str:
        """The first eight digits of the id."""
        return self.snapshot_id[:8]


class IntegrityCheck(models.Model):
    """One check of a repository and what it found."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="checks")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    position = models.JSONField(default=dict)
    findings = models.JSONField(default=list)
    is_clean = models.BooleanField(null=True)
