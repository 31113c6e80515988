"""A mail to oneself, to see whether the mail server takes it; administrators only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from panel.accounts.models import Letter
from panel.accounts.services.letters import letter_write
from panel.accounts.views.signing import need_admin
from panel.audit.services import record


@require_POST
def mail_test(request: HttpRequest) -> HttpResponse:
    """Order a mail to one's own address."""
    need_admin(request)
    user: Any = request.user
    ends = timezone.now() + timedelta(hours=1)
    letter_write(user, "Mail works", "This panel can send mails. Nothing else is to be done.\n", expires_at=ends)
    record("mail.tested", actor=user)
    messages.success(request, f"A mail to {user.email} is on its way; this page shows how it went.")
    return redirect("options:settings", "mail")


def mail_log(request: HttpRequest) -> HttpResponse:
    """Show how the last mails went."""
    need_admin(request)
    letters = Letter.objects.exclude(to="").select_related("user")[:20]
    return render(request, "accounts/mail_log.html", {"letters": letters})
