"""Measuring what accounts use, a few at a time, once a day each."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from panel.accounts.models import Account, AccountStatus
from panel.accounts.services.hosting import usage_save
from panel.accounts.usage import UsageError, measure

_EVERY = timedelta(hours=24)


def measure_due(seconds: float = 60.0) -> int:
    """Measure accounts that were last measured a day ago, for about ``seconds``; return how many.

    Only accounts of which a backup exists: before an administrator's first schedule covers an account, nothing of it
    is looked at.  One that cannot be measured counts as looked at, so that it does not hold up the others.
    """
    ends, done = timezone.now() + timedelta(seconds=seconds), 0
    while timezone.now() < ends:
        account = _next()
        if account is None:
            break
        try:
            usage = measure(account.home)
            usage_save(account, usage.disk_bytes, usage.inodes)
            done += 1
        except UsageError:
            Account.objects.filter(pk=account.pk).update(measured_at=timezone.now())
    return done


def is_due() -> bool:
    """Tell whether an account waits to be measured."""
    return _waiting().exists()


def _next() -> Account | None:
    return _waiting().order_by(F("measured_at").asc(nulls_first=True), "pk").first()


def _waiting() -> QuerySet[Account]:
    old = Q(measured_at=None) | Q(measured_at__lt=timezone.now() - _EVERY)
    # Asked account by account, and only until one is found: a join would go through all snapshots.
    snapshots = Account._meta.get_field("snapshots").related_model.objects.filter(account=OuterRef("pk"))
    return Account.objects.filter(old, Exists(snapshots.order_by()), status=AccountStatus.ACTIVE)
