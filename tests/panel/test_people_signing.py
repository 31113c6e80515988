"""Signing in: what lets somebody in, what does not, and what a stranger learns."""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from panel.accounts.models import Role, Session, SignInLink, User
from panel.accounts.services import links, twofactor, users
from panel.audit.models import AuditEvent
from panel.core.errors import Conflict, Invalid
from panel.options.models import Option

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"


def enter(client: Client, name: str = "alice", password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/sign-in/", {"username": name, "password": password, **more})


def signed_in(client: Client) -> bool:
    return client.get("/me/").status_code == 200


def code_for(secret: str, shift: int = 0) -> str:
    return TOTP(base64.b32decode(secret), 6, SHA1(), 30).generate(int(time.time()) + shift).decode()


def test_a_name_in_any_case_or_an_own_address_lets_in(people: dict[str, Any]) -> None:
    User.objects.filter(pk=people["alice"].pk).update(email="alice@example.com")
    for name in ("alice", "ALICE", "Alice@example.com"):
        client = Client()
        assert enter(client, name).status_code == 302
        assert signed_in(client)


def test_an_address_that_two_people_have_lets_neither_in(people: dict[str, Any]) -> None:
    User.objects.filter(username__in=["alice", "mallory"]).update(email="both@example.com")
    assert enter(Client(), "both@example.com").status_code == 422


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "\\\\evil.example",
     "http:evil.example", "https:///evil.example", "evil.example", "/\t/evil.example", " //evil.example"],
)  # fmt: skip
def test_signing_in_leads_nowhere_but_into_the_panel(people: dict[str, Any], target: str) -> None:
    assert enter(Client(), next=target).headers["Location"] == "/"
    client = Client()
    client.force_login(people["alice"], backend="panel.accounts.backends.NameOrMailBackend")
    assert client.get("/sign-in/", {"next": target}).headers["Location"] == "/"
    left = client.post("/theme/", {"theme": "dark", "next": target}).headers["Location"]
    assert urlsplit(urljoin("http://testserver/theme/", left)).netloc == "testserver"


def test_signing_in_goes_on_to_the_page_that_was_asked_for(people: dict[str, Any]) -> None:
    asked = Client().get("/backups/history/?page=2").headers["Location"]
    assert asked == "/sign-in/?next=/backups/history/%3Fpage%3D2"
    assert enter(Client(), next="/backups/history/?page=2").headers["Location"] == "/backups/history/?page=2"


def test_a_foreign_host_name_is_refused(people: dict[str, Any]) -> None:
    assert Client(headers={"Host": "evil.example"}).get("/sign-in/").status_code == 400


def test_a_session_from_before_signing_in_is_worth_nothing_after(people: dict[str, Any]) -> None:
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    client.cookies["holdfast_session"] = session.session_key
    enter(client)
    assert client.cookies["holdfast_session"].value != session.session_key
    thief = Client()
    thief.cookies["holdfast_session"] = session.session_key
    assert not signed_in(thief)


def test_a_made_up_session_key_is_not_taken_over(people: dict[str, Any]) -> None:
    client = Client()
    client.cookies["holdfast_session"] = "a" * 32
    enter(client)
    assert client.cookies["holdfast_session"].value != "a" * 32


def test_nobody_learns_from_the_page_who_exists(people: dict[str, Any]) -> None:
    User.objects.filter(pk=people["mallory"].pk).update(is_active=False)
    pages = set()
    for name in ("alice", "mallory", "nobody", "nobody@example.com"):
        page = enter(Client(), name, "wrong").content.decode()
        start = page.index("<main")
        cut = page[start:].replace(name, "")
        pages.add("".join(part.partition('">')[2] for part in cut.split('name="csrfmiddlewaretoken" value="')) or cut)
    assert len(pages) == 1


def test_nobody_learns_from_the_time_who_exists(people: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    User.objects.filter(pk=people["mallory"].pk).update(is_active=False)
    invited = User.objects.create_user("invited", None)
    assert not invited.has_usable_password()
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda self, *parts: hashed.append("x") or encode(self, *parts))
    work = {}
    for name in ("alice", "mallory", "invited", "nobody", "nobody@example.com"):
        hashed.clear()
        enter(Client(), name, "wrong")
        work[name] = len(hashed)
    assert set(work.values()) == {1}, work


def test_five_wrong_passwords_lock_a_name_from_an_address_and_no_other_name(people: dict[str, Any]) -> None:
    client = Client()
    assert [enter(client, password="no").status_code for _ in range(5)] == [422] * 4 + [429]
    assert enter(client).status_code == 429
    assert enter(Client(), "mallory").status_code == 302
    assert enter(Client(REMOTE_ADDR="198.51.100.9")).status_code == 302


def test_one_address_that_tries_many_names_is_locked(people: dict[str, Any]) -> None:
    client = Client()
    for number in range(50):
        assert enter(client, f"name{number}", "Password1!").status_code == 422
    assert enter(client).status_code == 429
    assert enter(Client(REMOTE_ADDR="198.51.100.9")).status_code == 302


def test_what_proxies_add_is_believed_as_far_as_there_are_proxies(people: dict[str, Any], settings: Any) -> None:
    Client(headers={"X-Forwarded-For": "203.0.113.1"}).post("/sign-in/", {"username": "alice", "password": PASSWORD})
    assert AuditEvent.objects.get(action="signed_in").address == "127.0.0.1"
    AuditEvent.objects.all().delete()
    settings.PROXIES = 1
    made_up = Client(headers={"X-Forwarded-For": "10.0.0.1, 198.51.100.7"})
    made_up.post("/sign-in/", {"username": "alice", "password": PASSWORD})
    assert AuditEvent.objects.get(action="signed_in").address == "198.51.100.7"


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(people: dict[str, Any]) -> None:
    client = Client()
    enter(client)
    session = client.cookies["holdfast_session"]
    assert session["httponly"]
    assert session["samesite"] == "Lax"


def test_every_page_forbids_frames_scripts_of_others_and_guessing_of_types(browser: Any) -> None:
    for page in (Client().get("/sign-in/"), browser("root").get("/me/"), browser("root").get("/nothing/here/")):
        policy = page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert b"<script>" not in page.content
        assert b" style=" not in page.content
        assert b"onclick=" not in page.content
    assert "no-store" in browser("root").get("/me/").headers["Cache-Control"]


def test_signing_out_ends_the_session_for_good(people: dict[str, Any]) -> None:
    client = Client()
    enter(client)
    key = client.cookies["holdfast_session"].value
    client.post("/sign-out/")
    client.cookies["holdfast_session"] = key
    assert not signed_in(client)


def test_sessions_are_listed_without_their_keys_and_end_one_by_one(people: dict[str, Any]) -> None:
    here, there = Client(), Client(headers={"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"})
    enter(here)
    enter(there)
    page = here.get("/me/").content.decode()
    assert "Firefox on Linux" in page
    for row in Session.objects.all():
        assert row.pk not in page
    mark = page.partition("/me/sessions/")[2].partition("/end/")[0]
    stranger = Client()
    enter(stranger, "mallory")
    assert stranger.post(f"/me/sessions/{mark}/end/").status_code == 404
    assert here.post(f"/me/sessions/{mark}/end/").status_code == 302
    assert signed_in(here)
    assert not signed_in(there)


def test_a_new_password_ends_all_other_sessions_and_open_links(people: dict[str, Any]) -> None:
    here, there = Client(), Client()
    enter(here)
    enter(there)
    secret = links.link_make(people["alice"], "reset", actor=None)
    key = here.cookies["holdfast_session"].value
    answer = here.post(
        "/me/",
        {"what": "password", "old_password": PASSWORD, "new_password1": "another long one",
         "new_password2": "another long one"},
    )  # fmt: skip
    assert answer.status_code == 302
    assert signed_in(here)
    assert here.cookies["holdfast_session"].value != key
    assert not signed_in(there)
    with pytest.raises(links.LinkUsed):
        links.link_look(secret, "reset")


@pytest.mark.parametrize("password", ["short", "password1234", "alice-alice", "1234567890"])
def test_weak_passwords_are_refused(people: dict[str, Any], password: str) -> None:
    User.objects.filter(pk=people["alice"].pk).update(username="alice-alice")
    people["alice"].refresh_from_db()
    with pytest.raises(Invalid):
        users.password_set(people["alice"], password, actor=None)


def test_a_locked_out_user_is_out_at_once(people: dict[str, Any]) -> None:
    client = Client()
    enter(client)
    users.user_disable(people["alice"], actor=people["root"])
    assert not signed_in(client)
    assert enter(Client()).status_code == 422


def test_a_role_that_changed_ends_the_sessions(people: dict[str, Any]) -> None:
    client = Client()
    enter(client)
    users.user_change(people["alice"], {"role": Role.RESELLER}, actor=people["root"])
    assert not signed_in(client)


def test_the_session_lasts_as_long_as_the_setting_says(people: dict[str, Any]) -> None:
    Option.objects.create(key="session_days", value=2)
    client = Client()
    enter(client)
    assert int(client.cookies["holdfast_session"]["max-age"]) == 2 * 86400


def test_an_invitation_is_looked_at_often_and_used_once(people: dict[str, Any]) -> None:
    user = users.user_create("nina", actor=None, email="nina@example.com")
    secret = links.link_make(user, "invitation", actor=people["root"])
    path = f"/welcome/{secret}/"
    client = Client()
    assert client.get(path).status_code == client.head(path).status_code == 200
    assert client.get(path).headers["Referrer-Policy"] == "strict-origin"
    assert client.post(path, {"password": "short", "again": "short"}).status_code == 422
    assert client.post(path, {"password": "a fine password", "again": "a fine passwort"}).status_code == 422
    answer = client.post(path, {"password": "a fine password", "again": "a fine password"})
    assert answer.status_code == 302
    assert signed_in(client)
    assert Client().get(path).status_code == 410
    assert Client().post(path, {"password": "another password", "again": "another password"}).status_code == 410
    assert enter(Client(), "nina", "a fine password").status_code == 302


def test_a_link_that_is_old_or_of_another_kind_or_made_up_does_not_work(people: dict[str, Any]) -> None:
    reset = links.link_make(people["alice"], "reset", actor=None)
    sso = links.link_make(people["alice"], "sso", actor=None)
    assert Client().get(f"/sso/{reset}/").status_code == 410
    assert Client().get(f"/welcome/{sso}/").status_code == 410
    assert Client().get(f"/welcome/{'x' * 43}/").status_code == 410
    SignInLink.objects.update(expires_at="2020-01-01T00:00:00Z")
    assert Client().get(f"/welcome/{reset}/").status_code == 410
    assert Client().get(f"/sso/{sso}/").status_code == 410


def test_a_link_of_somebody_locked_out_does_not_work(people: dict[str, Any]) -> None:
    secret = links.link_make(people["alice"], "sso", actor=None)
    User.objects.filter(pk=people["alice"].pk).update(is_active=False)
    assert Client().get(f"/sso/{secret}/").status_code == 410
    with pytest.raises(Conflict):
        links.link_make(User.objects.get(pk=people["alice"].pk), "reset", actor=None)


def test_a_new_invitation_ends_the_one_before(people: dict[str, Any]) -> None:
    first = links.link_make(people["alice"], "reset", actor=None)
    second = links.link_make(people["alice"], "reset", actor=None)
    assert Client().get(f"/welcome/{first}/").status_code == 410
    assert Client().get(f"/welcome/{second}/").status_code == 200


def test_a_link_of_another_panel_signs_in_once_and_only_by_get(people: dict[str, Any]) -> None:
    path = f"/sso/{links.link_make(people['alice'], 'sso', actor=None)}/"
    assert Client().head(path).status_code == 405
    client = Client()
    answer = client.get(path, {"next": "//evil.example"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert signed_in(client)
    assert Client().get(path).status_code == 410


def test_a_link_takes_the_place_of_who_was_signed_in(people: dict[str, Any]) -> None:
    client = Client()
    enter(client, "mallory")
    client.get(f"/sso/{links.link_make(people['alice'], 'sso', actor=None)}/")
    assert "alice" in client.get("/me/").content.decode()
    assert "mallory" not in client.get("/me/").content.decode()


def test_only_digests_of_links_are_stored(people: dict[str, Any]) -> None:
    secret = links.link_make(people["alice"], "reset", actor=None)
    assert secret not in str(list(SignInLink.objects.values()))
    assert secret not in str(list(AuditEvent.objects.values()))


def switch_on(user: User) -> tuple[str, list[str]]:
    secret = twofactor.new_secret()
    return secret, twofactor.switch_on(user, secret, code_for(secret, -30), actor=user)


def test_the_second_step_asks_for_a_code_and_takes_each_once(people: dict[str, Any]) -> None:
    secret, _ = switch_on(people["alice"])
    client = Client()
    assert enter(client, next="/backups/history/").headers["Location"] == "/sign-in/code/"
    assert not signed_in(client)
    assert client.post("/sign-in/code/", {"code": "000000"}).status_code == 422
    code = code_for(secret)
    assert client.post("/sign-in/code/", {"code": code}).headers["Location"] == "/backups/history/"
    assert signed_in(client)
    other = Client()
    enter(other)
    assert other.post("/sign-in/code/", {"code": code}).status_code == 422
    assert not signed_in(other)


def test_a_code_on_paper_works_once(people: dict[str, Any]) -> None:
    _, codes = switch_on(people["alice"])
    for expected in (302, 422):
        client = Client()
        enter(client)
        assert client.post("/sign-in/code/", {"code": codes[3].upper()}).status_code == expected
    people["alice"].refresh_from_db()
    assert len(people["alice"].recovery_codes) == 9
    assert codes[3] not in str(people["alice"].recovery_codes)


def test_wrong_codes_lock_like_wrong_passwords(people: dict[str, Any]) -> None:
    secret, _ = switch_on(people["alice"])
    client = Client()
    enter(client)
    for _ in range(5):
        client.post("/sign-in/code/", {"code": "000000"})
    assert client.post("/sign-in/code/", {"code": code_for(secret)}).status_code == 429
    assert not signed_in(client)


def test_the_second_step_needs_the_first(people: dict[str, Any]) -> None:
    secret, _ = switch_on(people["alice"])
    client = Client()
    assert client.post("/sign-in/code/", {"code": code_for(secret)}).headers["Location"] == "/sign-in/"
    assert not signed_in(client)


def test_a_reset_link_does_not_go_around_the_second_step(people: dict[str, Any]) -> None:
    switch_on(people["alice"])
    client = Client()
    path = f"/welcome/{links.link_make(people['alice'], 'reset', actor=None)}/"
    answer = client.post(path, {"password": "a fine password", "again": "a fine password"})
    assert answer.headers["Location"] == "/sign-in/"
    assert not signed_in(client)


def test_the_second_step_is_set_up_with_the_password_and_a_first_code(people: dict[str, Any], browser: Any) -> None:
    client = browser("alice")
    assert b"Your password again" in client.post("/me/two-factor/").content
    assert client.post("/me/two-factor/", {"confirm_password": "wrong"}).status_code == 422
    page = client.post("/me/two-factor/", {"confirm_password": PASSWORD}).content.decode()
    secret = page.partition('id="secret" tabindex="0">')[2].partition("<")[0]
    assert client.post("/me/two-factor/", {"code": "123"}).status_code == 422
    assert b"ten codes" in client.post("/me/two-factor/", {"code": code_for(secret)}).content
    people["alice"].refresh_from_db()
    assert people["alice"].two_factor
    assert secret not in people["alice"].totp_secret
    assert client.post("/me/two-factor/off/").status_code == 302
    people["alice"].refresh_from_db()
    assert not people["alice"].two_factor


def test_administrators_without_a_second_step_see_only_its_page_when_it_is_required(browser: Any) -> None:
    Option.objects.create(key="admin_two_factor", value=True)
    assert browser("root").get("/").headers["Location"] == "/me/two-factor/"
    assert browser("root").get("/me/two-factor/").status_code == 200
    assert browser("alice").get("/").status_code == 200


def test_the_shell_lets_an_administrator_back_in(people: dict[str, Any]) -> None:
    switch_on(people["root"])
    User.objects.filter(pk=people["root"].pk).update(is_active=False)
    password = users.password_reset("ROOT")
    client = Client()
    assert enter(client, "root", password).headers["Location"] == "/"
    assert signed_in(client)
