"""Mails about signing in, handed to a real mail server by what the worker runs."""

from __future__ import annotations

import gc
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from notifications.delivery import mail_server
from notifications.ticks import letters_tick
from notifications.work import deliver_due
from panel.accounts.models import Letter, SignInLink, User
from panel.accounts.services import links
from panel.accounts.services.letters import letter_write
from panel.audit.models import AuditEvent
from panel.core.sealing import MasterKey
from panel.options.models import Option
from panel.options.services import save_group
from tests.servers.certificates import Authority

# The mail server leaves its end of a connection to the collector when it is stopped.
pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
LINK = re.compile(r"http://\S+/welcome/\S+/")


class Mailbox:
    """What a mail server took, and how it answers."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            self.taken.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return self.answer


class Signed:
    """Lets in who knows the password."""

    def __call__(self, _server: Any, _session: Any, _envelope: Any, _mechanism: Any, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"backup", b"s3cret mail")
        return AuthResult(success=right, handled=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(controller: Controller) -> None:
    controller.stop()
    gc.collect()


@pytest.fixture
def mailbox(keys: MasterKey, people: dict[str, Any]) -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    configure(controller.port, mail_security="none")
    User.objects.filter(pk=people["alice"].pk).update(email="alice@example.com")
    people["alice"].refresh_from_db()
    yield box
    stop(controller)


def configure(port: int, **more: str) -> dict[str, str]:
    given = {
        "mail_host": "127.0.0.1", "mail_port": str(port), "mail_security": "starttls", "mail_user": "",
        "mail_from": "backup@example.net", "mail_verify": "on", "mail_timeout": "5",
    } | more  # fmt: skip
    return save_group("mail", given, actor=None)


def text_of(message: Any) -> str:
    return str(message.get_content())


def test_an_invitation_arrives_and_its_link_lets_in(mailbox: Mailbox, browser: Any) -> None:
    answer = browser("root").post("/users/new/", {"username": "nina", "email": "nina@example.com", "role": "end_user"})
    assert answer.status_code == 302
    assert deliver_due() == 1
    [(to, message)] = mailbox.taken
    assert to == ["nina@example.com"]
    assert message["From"] == "backup@example.net"
    assert message["Auto-Submitted"] == "auto-generated"
    client = Client()
    path = LINK.search(text_of(message)).group().partition("testserver")[2]  # type: ignore[union-attr]
    assert client.post(path, {"password": "a fine password", "again": "a fine password"}).status_code == 302
    assert client.get("/me/").status_code == 200


def test_the_text_is_sealed_until_it_is_sent_and_gone_after(mailbox: Mailbox, people: dict[str, Any]) -> None:
    links.link_send(people["alice"], "reset", actor=None, base="http://panel.example")
    letter = Letter.objects.get()
    assert letter.sealed.startswith("hf1:")
    assert "welcome" not in letter.sealed
    deliver_due()
    letter.refresh_from_db()
    assert (letter.state, letter.sealed) == ("sent", "")


def test_a_forgotten_password_is_answered_the_same_for_everybody(mailbox: Mailbox) -> None:
    client = Client()
    pages, rows = set(), set()
    for name in ("alice", "alice@example.com", "nobody", "nobody@example.com", "mallory"):
        before = Letter.objects.count(), AuditEvent.objects.count(), SignInLink.objects.count()
        page = client.post("/password/forgot/", {"username": name})
        pages.add((page.status_code, re.sub(rb'value="\w{64}"', b"", page.content)))
        after = Letter.objects.count(), AuditEvent.objects.count(), SignInLink.objects.count()
        rows.add(tuple(new - old for old, new in zip(before, after, strict=True)))
    assert len(pages) == 1
    assert rows == {(1, 1, 0)}
    deliver_due()
    deliver_due()
    assert {tuple(to) for to, _ in mailbox.taken} == {("alice@example.com",)}


def test_a_reset_link_sets_a_new_password(mailbox: Mailbox) -> None:
    Client().post("/password/forgot/", {"username": "alice"})
    deliver_due()
    deliver_due()
    path = LINK.search(text_of(mailbox.taken[0][1])).group().partition("testserver")[2]  # type: ignore[union-attr]
    client = Client()
    assert client.post(path, {"password": "a fine password", "again": "a fine password"}).status_code == 302
    answer = Client().post("/sign-in/", {"username": "alice", "password": "a fine password"})
    assert answer.headers["Location"] == "/"


def test_nobody_is_flooded_with_resets(mailbox: Mailbox) -> None:
    for number in range(6):
        Client(REMOTE_ADDR=f"198.51.100.{number}").post("/password/forgot/", {"username": "alice"})
        deliver_due()
        deliver_due()
    assert len(mailbox.taken) == 3


def test_one_address_asks_for_ten_resets_an_hour(mailbox: Mailbox) -> None:
    found = [Client().post("/password/forgot/", {"username": f"name{number}"}).status_code for number in range(11)]
    assert found == [200] * 10 + [429]


def test_the_address_of_links_is_the_settings_and_not_the_requests(mailbox: Mailbox, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    Option.objects.create(key="panel_url", value="https://backup.example.com")
    Client(headers={"Host": "evil.example"}).post("/password/forgot/", {"username": "alice"})
    deliver_due()
    deliver_due()
    assert "https://backup.example.com/welcome/" in text_of(mailbox.taken[0][1])
    assert "evil" not in text_of(mailbox.taken[0][1])


def test_without_a_mail_server_the_link_is_shown_to_pass_on(people: dict[str, Any], browser: Any) -> None:
    answer = browser("root").post("/users/new/", {"username": "nina", "email": "nina@example.com", "role": "end_user"})
    assert answer.headers["Cache-Control"] == "no-store"
    path = re.search(r"http://testserver(/welcome/[\w-]+/)", answer.content.decode()).group(1)  # type: ignore[union-attr]
    assert Client().get(path).status_code == 200
    assert b"sends no mails" in Client().get("/password/forgot/").content
    assert b"Forgot" not in Client().get("/sign-in/").content
    assert not Letter.objects.exists()


def test_starttls_and_a_password_are_used_and_the_certificate_is_checked(
    keys: MasterKey, people: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    authority.issue(tmp_path / "server.pem")
    (tmp_path / "authority.pem").write_text(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    box = Mailbox()
    controller = Controller(
        box, hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True,
        authenticator=Signed(), auth_required=True,
    )  # fmt: skip
    controller.start()
    try:
        configure(controller.port, mail_user="backup", mail_password="s3cret mail")
        first = letter_write(None, "One", "text", expires_at=timezone.now() + timedelta(hours=1), to="a@example.com")
        assert deliver_due() == 0
        first.refresh_from_db()
        assert "safe connection" in first.error
        assert not box.taken
        Letter.objects.all().delete()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        letter_write(None, "Two", "text", expires_at=timezone.now() + timedelta(hours=1), to="a@example.com")
        assert deliver_due() == 1
        assert box.taken[0][1]["Subject"] == "Two"
        configure(controller.port, mail_user="backup", mail_password="wrong")
        last = letter_write(None, "Three", "text", expires_at=timezone.now() + timedelta(hours=1), to="a@example.com")
        deliver_due()
        last.refresh_from_db()
        assert last.error == "127.0.0.1 refused the user name or password (535)."
    finally:
        stop(controller)


def test_the_password_of_the_mail_server_is_sealed_and_never_shown(mailbox: Mailbox, browser: Any) -> None:
    configure(25, mail_user="backup", mail_password="s3cret mail")
    assert "s3cret" not in str(list(Option.objects.values()) + list(AuditEvent.objects.values()))
    assert b"s3cret" not in browser("root").get("/settings/mail/").content
    assert b"hf1:" not in browser("root").get("/settings/mail/").content
    found = mail_server()
    assert found is not None
    assert found.password == "s3cret mail"
    assert "s3cret" not in repr(found)
    configure(25, mail_user="backup")
    assert mail_server().password == "s3cret mail"  # type: ignore[union-attr]
    configure(25, **{"mail_user": "backup", "mail_password-clear": "on"})
    assert mail_server().password == ""  # type: ignore[union-attr]


def test_the_environment_wins_over_the_panel(mailbox: Mailbox, settings: Any) -> None:
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS = "mail.example.net", True
    found = mail_server()
    assert found is not None
    assert (found.host, found.security) == ("mail.example.net", "starttls")


def test_a_server_that_is_busy_is_tried_again_later_and_one_that_refuses_is_not(
    mailbox: Mailbox, people: dict[str, Any]
) -> None:
    mailbox.answer = "451 later"
    links.link_send(people["alice"], "invitation", actor=None, base="http://panel.example")
    assert deliver_due() == deliver_due() == 0
    letter = Letter.objects.get()
    assert (letter.state, letter.tries) == ("waiting", 1)
    mailbox.answer = "250 OK"
    Letter.objects.update(due_at=timezone.now())
    assert deliver_due() == 1
    mailbox.answer = "554 never"
    links.link_send(people["alice"], "invitation", actor=None, base="http://panel.example")
    deliver_due()
    letter = Letter.objects.order_by("-pk")[0]
    assert (letter.state, letter.sealed) == ("failed", "")
    assert "554" in letter.error


def test_a_mail_whose_link_has_ended_is_not_sent(mailbox: Mailbox, people: dict[str, Any]) -> None:
    links.link_send(people["alice"], "reset", actor=None, base="http://panel.example")
    Letter.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert deliver_due() == 0
    assert Letter.objects.get().state == "failed"


def test_a_mail_is_sent_once_by_two_workers(mailbox: Mailbox, people: dict[str, Any]) -> None:
    links.link_send(people["alice"], "reset", actor=None, base="http://panel.example")
    stale = list(Letter.objects.all())
    assert deliver_due() == 1
    from notifications.work import _deliver

    assert not _deliver(stale[0])
    assert len(mailbox.taken) == 1


def test_the_scheduler_rings_only_while_mails_wait(
    mailbox: Mailbox, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr("notifications.ticks.app.send_task", lambda name, **_: rung.append(name))
    moment = timezone.now().replace(minute=30, second=30)
    assert not letters_tick(moment)
    links.link_send(people["alice"], "reset", actor=None, base="http://panel.example")
    assert letters_tick(timezone.now().replace(microsecond=0) + timedelta(seconds=1))
    assert "notifications.tasks.deliver" in rung


def test_an_administrator_tries_the_mail_server(mailbox: Mailbox, people: dict[str, Any], browser: Any) -> None:
    assert browser("root").post("/mail/test/").status_code == 409
    User.objects.filter(pk=people["root"].pk).update(email="root@example.com")
    assert browser("root").post("/mail/test/").status_code == 302
    deliver_due()
    assert mailbox.taken[0][0] == ["root@example.com"]
    assert b"Sent" in browser("root").get("/mail/").content


def test_user_add_answers_with_an_invitation(people: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    call_command("user_add", username="nina", email="nina@example.com")
    assert "/welcome/" in capsys.readouterr().out
