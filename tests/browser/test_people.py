"""Inviting somebody, acting as a user, a token and the second step, as people do them."""

from __future__ import annotations

import base64
import secrets
import time

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import Page, expect

from tests.browser.pages import PHONE, WIDE, Desks
from tests.browser.stack import PASSWORD

NEW = "a fine new password"


def confirm(page: Page, password: str = PASSWORD) -> None:
    """Give the password again, if signing in was more than five minutes ago."""
    if page.get_by_role("heading", name="Your password again").count():
        page.get_by_label("Password of").fill(password)
        page.get_by_role("button", name="Go on").click()


def test_an_invited_customer_chooses_a_password_on_a_telephone_and_is_in(desks: Desks) -> None:
    name = f"nina-{secrets.token_hex(3)}"
    with desks.open("admin") as admin:
        page = admin.go("/users/new/")
        page.get_by_label("User name").fill(name)
        page.get_by_role("button", name="Add and invite").click()
        link = page.locator("#link").inner_text()
        assert not admin.breaches()
    with desks.open("", PHONE) as visitor:
        visitor.page.goto(link)
        assert not visitor.breaches()
        assert not visitor.too_wide()
        visitor.page.get_by_label("Password", exact=True).fill(NEW)
        visitor.page.get_by_label("The same again").fill(NEW)
        visitor.page.get_by_role("button", name="Begin").click()
        expect(visitor.page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_an_administrator_sees_what_a_user_sees_and_comes_back_by_one_click(
    desks: Desks, size: tuple[int, int]
) -> None:
    with desks.open("admin", size) as desk:
        page = desk.go("/users/?q=juniper")
        page.get_by_role("link", name="juniper", exact=True).click()
        page.get_by_role("button", name="See the panel as juniper").click()
        confirm(page)
        bar = page.get_by_role("region", name="Acting as somebody else")
        expect(bar).to_contain_text("You see what juniper sees.")
        desk.go("/backups/schedules/")
        expect(bar).to_be_visible()
        assert not desk.breaches()
        assert not desk.too_wide()
        expect(page.get_by_role("link", name="System", exact=True)).to_have_count(0)
        bar.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("heading", name="juniper", exact=True)).to_be_visible()
        expect(bar).to_have_count(0)


def test_a_user_makes_a_token_that_works_and_removes_it(desks: Desks) -> None:
    with desks.open("juniper") as desk:
        page = desk.go("/tokens/new/")
        page.get_by_label("What it is for").fill("Monitoring")
        page.get_by_role("button", name="Make token").click()
        confirm(page)
        text = page.locator("#token").inner_text()
        address = f"{desk.stack.address}/api/v1/me"
        headers = {"Authorization": f"Bearer {text}"}
        assert desk.context.request.get(address, headers=headers).json()["user"]["username"] == "juniper"
        desk.go("/tokens/")
        assert not desk.breaches()
        page.get_by_role("button", name="Remove Monitoring").click()
        expect(page.get_by_role("link", name="Monitoring")).to_have_count(0)
        assert desk.context.request.get(address, headers=headers).status == 401


def test_the_second_step_is_set_up_and_asked_for(desks: Desks) -> None:
    name = f"theo-{secrets.token_hex(3)}"
    with desks.open("admin") as admin:
        page = admin.go("/users/new/")
        page.get_by_label("User name").fill(name)
        page.get_by_role("button", name="Add and invite").click()
        link = page.locator("#link").inner_text()
    with desks.open("", WIDE) as desk:
        page = desk.page
        page.goto(link)
        page.get_by_label("Password", exact=True).fill(NEW)
        page.get_by_label("The same again").fill(NEW)
        page.get_by_role("button", name="Begin").click()
        desk.go("/me/two-factor/")
        page.get_by_role("button", name="Begin").click()
        confirm(page, NEW)
        totp = TOTP(base64.b32decode(page.locator("#secret").inner_text()), 6, SHA1(), 30)
        assert not desk.breaches()
        page.get_by_label("2. The six digits").fill(totp.generate(int(time.time()) - 30).decode())
        page.get_by_role("button", name="Switch it on").click()
        expect(page.get_by_text("Keep these ten codes")).to_be_visible()
        desk.context.clear_cookies()
        desk.go("/sign-in/")
        page.get_by_label("User name or e-mail").fill(name)
        page.get_by_label("Password").fill(NEW)
        page.get_by_role("button", name="Sign in").click()
        assert not desk.breaches()
        page.get_by_label("Six digits of your app").fill(totp.generate(int(time.time())).decode())
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
