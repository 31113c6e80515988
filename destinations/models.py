"""Places where backups go."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from panel.accounts.models import Account
from panel.core.querysets import ScopedQuerySet


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


class Destination(models.Model):
    """A configured storage.  ``config`` is plain; ``sealed`` holds what must not be read by the web tier."""

    name = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=5, choices=DestinationKind.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="destinations")
    config = models.JSONField(default=dict)
    sealed = models.TextField(blank=True)
    is_enabled = models.BooleanField(default=True)
    read_only = models.BooleanField(default=False)
    tested_at = models.DateTimeField(null=True)
    test_ok = models.BooleanField(null=True)
    test_report = models.JSONField(default=list)
    used_bytes = models.BigIntegerField(null=True)
    free_bytes = models.BigIntegerField(null=True)
    total_bytes = models.BigIntegerField(null=True)
    measured_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DestinationQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def used_percent(self) -> int | None:
        """How full the storage is, in percent; None if it does not say."""
        if not self.total_bytes or self.free_bytes is None:
            return None
        return round(100 * (self.total_bytes - self.free_bytes) / self.total_bytes)
