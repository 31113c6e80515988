"""Getting data back: restores and downloads."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from backups.models import Snapshot
from panel.accounts.models import Account, Package
from panel.core.querysets import ScopedQuerySet
from worker.models import Job, JobItem
from worker.states import State


class Overwrite(models.TextChoices):
    """What happens to files that exist."""

    ALWAYS = "always", "Replace always"
    IF_DIFFERENT = "if-different", "Replace if different"
    IF_NEWER = "if-newer", "Replace if the backup is newer"
    NEVER = "never", "Keep what is there"


class Target(models.TextChoices):
    """Where items go."""

    IN_PLACE = "in_place", "In place"
    FOLDER = "folder", "Another folder"


class ArchiveFormat(models.TextChoices):
    """What a download is."""

    ZIP = "zip", "zip"
    TAR_GZ = "tar.gz", "tar.gz"


class PackageChoice(models.TextChoices):
    """Which package an account has after it was restored as a whole."""

    LIVE = "live", "The one it has now"
    BACKED_UP = "backup", "The one in the backup"


class OwnedQuerySet(ScopedQuerySet[Any]):
    """Rows that belong to an account."""

    def _owned_by(self, viewer: Any) -> Q:
        return Q(account__in=Account.objects.visible_to(viewer))


class Restore(models.Model):
    """A request to put items of snapshots of one repository back.

    ``parts`` are pairs of a snapshot's number and spelled paths; ``snapshot`` is the first of them.  ``safety`` is
    what it replaced, whole (``safety_whole``) or with gaps.  ``package_was`` is the package that
    it took from the account.
    """

    Target = Target

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="restore")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="restores")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="restores")
    parts = models.JSONField(default=list)
    target = models.CharField(max_length=8, choices=Target.choices)
    folder = models.CharField(max_length=1000, blank=True)
    overwrite = models.CharField(max_length=12, choices=Overwrite.choices, default=Overwrite.IF_DIFFERENT)
    mirror = models.BooleanField(default=False)
    exact = models.BooleanField(default=False)
    package = models.CharField(
        max_length=6, choices=PackageChoice.choices, default=PackageChoice.LIVE, db_default=PackageChoice.LIVE
    )
    package_was = models.ForeignKey(Package, null=True, on_delete=models.SET_NULL, related_name="+")
    safety = models.ForeignKey(Snapshot, null=True, on_delete=models.SET_NULL, related_name="+")
    safety_whole = models.BooleanField(default=False)
    undo_of = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="undone_by")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    by_admin = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = OwnedQuerySet.as_manager()

    @property
    def may_be_undone(self) -> bool:
        """Whether an undo may start: it has ended, its safety snapshot is there, and no undo runs or succeeded."""
        if self.safety is None or self.safety.removed_at is not None or self.job.is_live:
            return False
        undo: Restore | None = getattr(self, "undone_by", None)
        return undo is None or undo.job.state in (State.FAILED, State.ABORTED)

    class Meta:
        indexes = [models.Index(fields=["account", "-created_at"], name="restore_of_account")]


class HomeLock(models.Model):
    """A home that nobody may enter while files come back into it, and the permissions it gets again.

    The row is there before the permissions are taken away, and until they are back: ``device`` and ``inode`` tell
    whether the folder is still the same.  ``item`` is whose work it is locked for.
    """

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="home_lock")
    item = models.ForeignKey(JobItem, null=True, on_delete=models.SET_NULL, related_name="+")
    path = models.CharField(max_length=500)
    device = models.BigIntegerField()
    inode = models.DecimalField(max_digits=20, decimal_places=0)
    mode = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)


class Download(models.Model):
    """An archive built from snapshots of one repository, with an end of life.

    ``name`` is what the person's browser calls it, ``file`` its name among the downloads; empty = not there (yet).
    """

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="download")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="downloads")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="downloads")
    parts = models.JSONField(default=list)
    format = models.CharField(max_length=6, choices=ArchiveFormat.choices, default=ArchiveFormat.ZIP)
    name = models.CharField(max_length=200, blank=True)
    file = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(null=True)
    ready_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    fetched_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["account", "-id"], name="download_account"),
            models.Index(fields=["expires_at"], condition=Q(removed_at=None), name="download_expiry"),
        ]


class RestoreCondition(models.Model):
    """A statement that people accept before a restore runs."""

    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]


class RuleCategory(models.TextChoices):
    """What kind of files a rule is about."""

    HOME = "home", "Files of the home"
    EMAIL = "email", "E-mail"


class FilePermissionRule(models.Model):
    """What restored files and folders that match ``pattern`` get; empty fields leave things as they are.

    Rules apply in their order; a later one overrules what an earlier one gave.
    """

    pattern = models.CharField(max_length=200)
    category = models.CharField(max_length=5, choices=RuleCategory.choices, default=RuleCategory.HOME)
    owner = models.CharField(max_length=32, blank=True)
    group = models.CharField(max_length=32, blank=True)
    file_mode = models.CharField(max_length=3, blank=True)
    folder_mode = models.CharField(max_length=3, blank=True)
    recursive = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        given = [("owner", self.owner), ("group", self.group), ("files", self.file_mode), ("folders", self.folder_mode)]
        gives = ", ".join(f"{name} {value}" for name, value in given if value)
        return f"{self.pattern}{' and below' if self.recursive else ''}: {gives}"
