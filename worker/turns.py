"""Waiting for one's turn at something that only one item may do at a time, with an item that is claimed already."""

from __future__ import annotations

from time import sleep

from django.db import transaction

from worker import leases
from worker.claim import Claim
from worker.context import ItemContext
from worker.finish import Outcome, item_finish
from worker.models import Lease
from worker.states import State

_ASK_EVERY = 0.3


def my_turn(claim: Claim, key: str, what: str) -> bool:
    """Wait until nobody else holds ``key``, then hold it until the attempt ends; False if the item ended meanwhile.

    ``what`` says what the others do, for the person who watches.
    """
    context = ItemContext(claim)
    while context.tick():
        with transaction.atomic():
            leases.touch(key)
            other = leases.holder(key, exclusive=True)
            if other is None:
                leases.grant(key, claim.attempt, exclusive=True)
            if other is None or other.attempt_id == claim.attempt.pk:
                return True
        context.wait(f"{what}: {other.job_name}")
        if context.canceled():
            item_finish(claim, Outcome(State.ABORTED, code="HF-CANCELED", error="Stopped on request."))
            return False
        sleep(_ASK_EVERY)
    return False


def turn_over(claim: Claim, key: str) -> None:
    """Let the next one have ``key``; one that is not held is fine."""
    Lease.objects.filter(resource=key, attempt=claim.attempt).delete()
