"""What a worker does for mails: take each that is due once, send it, note how it went."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from notifications.delivery import DeliveryError, MailServer, hand_over, mail_server
from panel.accounts.models import Letter
from panel.accounts.services.letters import letter_place
from panel.accounts.services.links import reset_answer
from panel.core.errors import PanelError
from panel.core.sealing import MasterKey
from worker.clock import now

_STUCK = timedelta(minutes=10)
_PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))


def due(moment: datetime) -> Q:
    """Return which letters wait for delivery, those of a worker that died while sending included."""
    waiting = Q(state=Letter.State.WAITING, due_at__lte=moment)
    return waiting | Q(state=Letter.State.SENDING, due_at__lte=moment - _STUCK)


def deliver_due() -> int:
    """Send what is due; return how many mails went out."""
    sent = 0
    for letter in Letter.objects.filter(due(now())).order_by("due_at")[:100]:
        sent += _deliver(letter)
    return sent


def _deliver(letter: Letter) -> bool:
    moment = now()
    same = Letter.objects.filter(pk=letter.pk, state=letter.state, due_at=letter.due_at, tries=letter.tries)
    if not same.update(state=Letter.State.SENDING, due_at=moment, tries=letter.tries + 1):
        return False
    letter.tries += 1
    if letter.expires_at <= moment:
        return _end(letter, Letter.State.FAILED, "The link in it had ended before it could be sent.")
    try:
        if not letter.to:
            reset_answer(_text(letter))
            letter.delete()
            return False
        hand_over(_server(), letter.to, letter.subject, _text(letter))
    except DeliveryError as error:
        return _later(letter, str(error), lasting=error.lasting)
    except PanelError as error:
        return _later(letter, str(error), lasting=True)
    return _end(letter, Letter.State.SENT, "")


def _server() -> MailServer:
    server = mail_server()
    if server is None:
        raise DeliveryError("No mail server is set up.", lasting=True)
    return server


def _text(letter: Letter) -> str:
    return MasterKey.read(settings.MASTER_KEY_FILE).open(letter_place(letter.pk), letter.sealed)


def _later(letter: Letter, error: str, *, lasting: bool) -> bool:
    if lasting or letter.tries > len(_PAUSES):
        return _end(letter, Letter.State.FAILED, error)
    due_at = now() + _PAUSES[letter.tries - 1]
    Letter.objects.filter(pk=letter.pk).update(state=Letter.State.WAITING, due_at=due_at, error=error[:300])
    return False


def _end(letter: Letter, state: str, error: str) -> bool:
    sent = state == Letter.State.SENT
    Letter.objects.filter(pk=letter.pk).update(
        state=state, error=error[:300], sealed="", sent_at=now() if sent else None
    )
    return sent
