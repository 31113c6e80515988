"""Places where backups go, and what went through to them."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from panel.accounts.models import Account
from panel.core.querysets import ScopedQuerySet
from worker.models import Job


class DestinationKind(models.TextChoices):
    """The kinds of storage."""

    LOCAL = "local", "Local"
    FTP = "ftp", "FTP"
    SFTP = "sftp", "SFTP"
    S3 = "s3", "S3"


class DestinationQuerySet(ScopedQuerySet["Destination"]):
    """Destinations, as far as a viewer knows them: their own account's."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(account__in=Account.objects.visible_to(viewer))

    def present(self) -> DestinationQuerySet:
        """Return those that were not removed."""
        return self.filter(removed_at=None)


class Destination(models.Model):
    """A configured storage.

    ``config`` is plain; ``sealed`` holds, by name, what must not be read by the web tier.  ``account`` is set for
    storage that a customer entered.  ``test_report`` holds the steps of the last test, or of the one that runs.
    """

    name = models.CharField(max_length=40)
    kind = models.CharField(max_length=5, choices=DestinationKind.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="destinations")
    config = models.JSONField(default=dict)
    sealed = models.JSONField(default=dict)
    is_enabled = models.BooleanField(default=True)
    read_only = models.BooleanField(default=False)
    tested_at = models.DateTimeField(null=True)
    test_ok = models.BooleanField(null=True)
    test_report = models.JSONField(default=list)
    test_job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    used_bytes = models.BigIntegerField(null=True)
    free_bytes = models.BigIntegerField(null=True)
    total_bytes = models.BigIntegerField(null=True)
    measured_at = models.DateTimeField(null=True)
    gone_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True)

    objects = DestinationQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(removed_at=None), name="present_destination_name")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def kind_word(self) -> str:
        """What people call the kind: FTP with TLS is FTPS."""
        return "FTPS" if self.kind == DestinationKind.FTP and self.config.get("tls") else self.get_kind_display()

    @property
    def used_percent(self) -> int | None:
        """How full the storage is, in percent; None if it does not say."""
        if not self.total_bytes or self.free_bytes is None:
            return None
        return round(100 * (self.total_bytes - self.free_bytes) / self.total_bytes)

    @property
    def is_full(self) -> bool:
        """Whether its disk limit keeps new backups out."""
        limit = self.config.get("disk_limit") or 100
        return self.used_percent is not None and self.used_percent >= limit


class S3Defaults(models.Model):
    """What S3 destinations use for fields of theirs that are empty.  One row."""

    endpoint = models.CharField(max_length=300, blank=True)
    region = models.CharField(max_length=60, blank=True)
    access_key = models.CharField(max_length=200, blank=True)
    sealed = models.JSONField(default=dict)
    changed_at = models.DateTimeField(auto_now=True)


class Traffic(models.Model):
    """What was sent to a destination and received from it: bytes of objects, and requests to its server."""

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="+")
    sent = models.BigIntegerField(default=0)
    received = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class DayTraffic(Traffic):
    """The traffic of one day, UTC."""

    day = models.DateField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["destination", "day"], name="traffic_of_a_day")]


class JobTraffic(Traffic):
    """The traffic of one job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="traffic")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "destination"], name="traffic_of_a_job")]
