"""The road of a mail: which server, how it is spoken to, and what its refusals mean."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from email.utils import make_msgid

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.utils.functional import cached_property

from panel.core.sealing import MasterKey
from panel.options.places import option_place
from panel.options.selectors import options


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed over.  ``security`` is ``starttls``, ``tls`` or ``none``; ``timeout`` in seconds."""

    host: str
    port: int
    security: str
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    verify: bool = True
    timeout: int = 20


class DeliveryError(Exception):
    """A mail was not handed over; ``lasting`` means that trying again changes nothing."""

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


def mail_server() -> MailServer | None:
    """Return the mail server that the environment, or else the panel, names; None if neither does.

    Only who holds the master key can do this when a password is set.
    """
    if settings.EMAIL_HOST:
        security = "tls" if settings.EMAIL_USE_SSL else "starttls" if settings.EMAIL_USE_TLS else "none"
        return MailServer(
            settings.EMAIL_HOST, settings.EMAIL_PORT, security, settings.DEFAULT_FROM_EMAIL,
            settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD,
        )  # fmt: skip
    got = options(
        "mail_host", "mail_port", "mail_security", "mail_user", "mail_password", "mail_from", "mail_verify",
        "mail_timeout",
    )  # fmt: skip
    if not got["mail_host"]:
        return None
    sealed = str(got["mail_password"])
    password = MasterKey.read(settings.MASTER_KEY_FILE).open(option_place("mail_password"), sealed) if sealed else ""
    return MailServer(
        str(got["mail_host"]), int(got["mail_port"]), str(got["mail_security"]),
        str(got["mail_from"]) or settings.DEFAULT_FROM_EMAIL, str(got["mail_user"]), password,
        bool(got["mail_verify"]), int(got["mail_timeout"]),
    )  # fmt: skip


def hand_over(server: MailServer, to: str, subject: str, text: str) -> None:
    """Give one mail to the server.  DeliveryError with a sentence for an administrator, never with the password."""
    backend = _Backend(
        host=server.host, port=server.port, username=server.user, password=server.password,
        use_tls=server.security == "starttls", use_ssl=server.security == "tls", timeout=server.timeout,
    )  # fmt: skip
    backend.verify = server.verify
    domain = server.sender.rpartition("@")[2].rstrip(">") or "localhost"
    headers = {"Auto-Submitted": "auto-generated", "Message-ID": make_msgid(domain=domain)}
    try:
        EmailMessage(subject, text, server.sender, [to], headers=headers, connection=backend).send()
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError(f"{server.host} refused the user name or password ({error.smtp_code}).") from error
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        code = _code(error)
        raise DeliveryError(f"{server.host} refused the mail ({code or 'no reason'}).", lasting=code >= 500) from error
    except ssl.SSLError as error:
        raise DeliveryError(
            f"No safe connection to {server.host}: {error.reason or 'the certificate is wrong'}."
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError(f"{server.host} port {server.port} does not take mail: {_plain(error)}.") from error


class _Backend(EmailBackend):
    verify = True

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def _code(error: smtplib.SMTPException) -> int:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()), (0, b""))[0]
    return int(getattr(error, "smtp_code", 0))


def _plain(error: Exception) -> str:
    text = getattr(error, "strerror", "") or str(error) or type(error).__name__
    return text.rstrip(".")[:160]
