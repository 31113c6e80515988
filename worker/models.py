"""Jobs, what they are made of, and who holds what.  A job's row is the truth; messages only ring."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from panel.accounts.models import Account, Server
from panel.core.querysets import ScopedQuerySet
from worker.states import Kind, Slot, State


class JobQuerySet(ScopedQuerySet["Job"]):
    """Jobs, as far as a viewer knows them: those of one account that is theirs."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(account__in=Account.objects.visible_to(viewer))


class Job(models.Model):
    """What History shows: one run of a schedule, one restore, one download, one check.

    ``subject`` names what it is about (``schedule:12``); ``spec`` holds ids and choices, never a secret.
    ``request_key`` makes a repeated request the same job.
    """

    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=200)
    scope = models.CharField(max_length=60, blank=True)
    subject = models.CharField(max_length=60, blank=True)
    trigger = models.CharField(max_length=12, default="manual")
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="jobs")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    request_key = models.CharField(max_length=120, null=True, unique=True)
    spec = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_at = models.DateTimeField(null=True)
    items_total = models.PositiveIntegerField(default=0)
    items_done = models.PositiveIntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    files_done = models.BigIntegerField(default=0)
    speed = models.BigIntegerField(default=0)
    stats = models.JSONField(default=dict)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    guidance = models.TextField(blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "-id"], condition=Q(state__in=["pending", "running"]), name="job_live"),
            models.Index(fields=["account", "-id"], name="job_account"),
            models.Index(fields=["kind", "-id"], name="job_kind"),
            models.Index(fields=["subject", "-id"], name="job_subject"),
            models.Index(fields=["finished_at"], name="job_finished"),
            models.Index(fields=["finished_at"], condition=Q(state__in=["failed", "partial"]), name="job_bad"),
            models.Index(fields=["account", "finished_at", "state"], condition=Q(kind="backup"), name="job_days"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.name}"

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (State.PENDING, State.RUNNING)


class JobItem(models.Model):
    """Part of a job, usually one account: what a worker does.  ``lease`` is the resource it needs."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="items")
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=200, blank=True)
    spec = models.JSONField(default=dict)
    slot = models.PositiveSmallIntegerField(choices=Slot.choices)
    priority = models.PositiveSmallIntegerField(default=50)
    lease = models.CharField(max_length=60, blank=True)
    exclusive = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    tries = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    waits_for = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    files_done = models.BigIntegerField(default=0)
    speed = models.BigIntegerField(default=0)
    current = models.CharField(max_length=300, blank=True)
    warnings = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    guidance = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["server", "slot", "priority", "id"], condition=Q(state="pending"), name="item_waiting"
            ),
            models.Index(fields=["server", "slot"], condition=Q(state="running"), name="item_running"),
            models.Index(fields=["account", "-finished_at", "state", "job"], name="item_account"),
            # By the moment of the end and not by state: who asks for what waits must not be given this one, which has
            # another order.  The database cannot tell how many wait: its counts are of yesterday.
            models.Index(fields=["job"], condition=Q(finished_at=None), name="item_live"),
        ]


class Attempt(models.Model):
    """One try at an item by one worker.  While it lives, its heartbeat moves."""

    class Outcome(models.TextChoices):
        """How it stands."""

        RUNNING = "running"
        ENDED = "ended"
        LOST = "lost"

    item = models.ForeignKey(JobItem, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    worker = models.CharField(max_length=120)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=8, choices=Outcome.choices, default=Outcome.RUNNING)
    lock_id = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "number"], name="attempt_number")]
        indexes = [
            models.Index(fields=["heartbeat_at"], condition=Q(outcome="running"), name="attempt_running"),
            models.Index(fields=["lock_id"], condition=~Q(lock_id=""), name="attempt_lock"),
        ]


class Resource(models.Model):
    """Something that is leased; its row serialises whoever asks."""

    key = models.CharField(max_length=60, primary_key=True)
    touched = models.PositiveBigIntegerField(default=0)


class Lease(models.Model):
    """The right to use a resource, shared or alone, for as long as the attempt lives."""

    resource = models.ForeignKey(Resource, on_delete=models.CASCADE, related_name="leases")
    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="leases")
    exclusive = models.BooleanField(default=False)


class JobLogLine(models.Model):
    """A line of the log of a job, or of one of its items."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log")
    item = models.ForeignKey(JobItem, null=True, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField()
    level = models.CharField(max_length=8, default="info")
    text = models.TextField()

    class Meta:
        ordering = ["id"]


class Event(models.Model):
    """Something that others may want to tell people about."""

    kind = models.CharField(max_length=60)
    at = models.DateTimeField()
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL)
    subject = models.CharField(max_length=60, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["at"], condition=Q(kind="schedule.overdue"), name="event_overdue")]


class BackupDay(models.Model):
    """How many backup jobs ended in each of the 96 quarters of an hour of a day of UTC, by state."""

    day = models.DateField(primary_key=True)
    ended = models.JSONField()


class Beat(models.Model):
    """The last sign of life of a part of the panel."""

    name = models.CharField(max_length=120, primary_key=True)
    seen_at = models.DateTimeField()
    detail = models.JSONField(default=dict)
