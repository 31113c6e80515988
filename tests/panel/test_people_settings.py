"""The settings pages, and what the production configuration promises browsers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panel.audit.models import AuditEvent
from panel.core.errors import Invalid
from panel.core.sealing import MasterKey
from panel.options.models import Option
from panel.options.people import checked_host, checked_mail, checked_url
from panel.options.registry import GROUPS, SETTINGS
from panel.options.selectors import group, option
from panel.options.services import save_group

pytestmark = pytest.mark.django_db
_ASK = """
import json
from django.conf import settings as s
names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "DEBUG",
         "SECURE_HSTS_INCLUDE_SUBDOMAINS", "X_FRAME_OPTIONS", "EMAIL_HOST_PASSWORD", "SESSION_COOKIE_HTTPONLY")
print(json.dumps({name: getattr(s, name) for name in names}))
"""


@pytest.mark.parametrize("name", GROUPS)
def test_every_setting_stands_on_its_page_with_its_words(browser: Any, name: str) -> None:
    page = browser("root").get(f"/settings/{name}/").content.decode()
    for setting, _ in group(name):
        assert f'for="{setting.key}"' in page
        assert f'name="{setting.key}"' in page
        if setting.unit and setting.widget == "number":
            assert f"<span>{setting.unit}</span>" in page


def test_every_setting_belongs_to_a_page_and_its_default_is_possible() -> None:
    for setting in SETTINGS.values():
        assert setting.group in GROUPS
        assert setting.label
        if setting.widget != "secret":
            given = "on" if setting.default is True else "" if setting.default is False else str(setting.default)
            assert setting.parse(given) == setting.default, setting.key


def test_wrong_values_are_named_and_nothing_is_stored(browser: Any) -> None:
    form = {"session_days": "0", "forgot_password": "on"}
    answer = browser("root").post("/settings/security/", form)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Smallest value is 1." in page
    assert 'value="0"' in page
    assert not Option.objects.exists()
    assert not AuditEvent.objects.filter(action="settings.changed").exists()


@pytest.mark.parametrize("text", ["", "x", "1.5", "91", "-1", "9" * 30, "٣٣٣"])
def test_a_number_is_a_whole_one_within_its_limits(text: str) -> None:
    with pytest.raises(Invalid):
        SETTINGS["session_days"].parse(text)


def test_changes_are_audited_one_by_one_and_the_default_leaves_no_row(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    client.post("/settings/security/", {"session_days": "30", "forgot_password": "on"})
    event = AuditEvent.objects.get(action="settings.changed")
    assert (event.subject, event.detail["old"], event.detail["new"]) == ("session_days", 14, 30)
    assert (event.actor_name, event.address) == ("root", "127.0.0.1")
    assert option("session_days") == 30
    assert "changed, the default is 14 days" in client.get("/settings/security/").content.decode()
    client.post("/settings/security/", {"session_days": "14", "forgot_password": "on"})
    assert not Option.objects.exists()


def test_secrets_are_audited_as_set_or_not(keys: MasterKey) -> None:
    save_group("mail", {"mail_password": "very secret", "mail_port": "25", "mail_security": "tls",
                        "mail_timeout": "20", "mail_verify": "on"}, actor=None)  # fmt: skip
    event = AuditEvent.objects.get(subject="mail_password")
    assert (event.detail["old"], event.detail["new"]) == ("not set", "set")


@pytest.mark.parametrize("text", ["ftp://x", "x", "http://", "http://u:p@h", "http://h/?q", "http://h:99999", "//h"])
def test_what_is_no_address_of_a_panel_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        checked_url(text)


def test_good_values_come_in_their_plain_form() -> None:
    assert checked_url("https://backup.example.com/") == "https://backup.example.com"
    assert checked_host("Mail.Example.COM") == "mail.example.com"
    assert checked_mail("backup@example.com") == "backup@example.com"
    for wrong in ("a b", "-x", "x\r\nBcc: y@example.com"):
        with pytest.raises(Invalid):
            checked_host(wrong)
    for wrong in ("x", "a@b\r\nBcc: c@d", "a b@c.d", "<a@b.c>"):
        with pytest.raises(Invalid):
            checked_mail(wrong)


def test_production_is_for_tls_only_and_takes_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("from a file\n")
    (tmp_path / "key").write_text("k" * 60)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "DJANGO_"))}
    production = plain | {
        "DJANGO_SETTINGS_MODULE": "panel.settings", "HOLDFAST_PRODUCTION": "yes", "HOLDFAST_DATA_DIR": str(tmp_path),
        "HOLDFAST_SECRET_KEY_FILE": str(tmp_path / "key"), "HOLDFAST_ALLOWED_HOSTS": "backup.example.com",
        "HOLDFAST_EMAIL_PASSWORD_FILE": str(tmp_path / "mail"), "HOLDFAST_EMAIL_HOST": "mail.example.com",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", _ASK], env=production, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "SESSION_COOKIE_SECURE": True, "CSRF_COOKIE_SECURE": True, "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31536000, "DEBUG": False, "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        "X_FRAME_OPTIONS": "DENY", "EMAIL_HOST_PASSWORD": "from a file", "SESSION_COOKIE_HTTPONLY": True,
    }  # fmt: skip
