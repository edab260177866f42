"""Secrets that were planted are found nowhere but in their sealed places."""

import base64
import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings

from dns.services import zones
from fleet import second_factor, totp
from relays.models import Operation
from relays.remote import keys
from relays.services import operations
from relays.services.audit import SYSTEM
from tests.factories import host_make, instance_make
from tests.people import browser_of, user_make
from tests.two_steps import TwoSteps, registered
from tests.web.test_roles import ROUTES, address

pytestmark = pytest.mark.django_db
PASSWORD = "canary-Zq7-password-of-anna"
Committing = Callable[..., AbstractContextManager[object]]


def test_planted_secrets_are_nowhere_but_in_their_places(
    django_capture_on_commit_callbacks: Committing,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with django_capture_on_commit_callbacks(execute=True), registered():
        secrets, pages = use_everything()
    streams = capfd.readouterr()
    places = {
        "a page": "\n".join(pages),
        "the log": caplog.text + streams.out + streams.err,
        "the database": database_text(),
        "the broker": broker_text(),
    }
    assert "operate" in places["the broker"], "no message was sent at all"
    assert len(places["the log"]) > 1000
    found = [
        f"{name} in {place}"
        for place, text in places.items()
        for name, secret in secrets.items()
        for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("="))
        if form in text
    ]
    assert found == []


def test_58_no_trace_and_no_mail_of_an_error_holds_what_was_typed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(second_factor, "is_on", fail)
    user_make("anna", "administrator")
    anna = User.objects.get()
    anna.set_password(PASSWORD)
    anna.save()
    with override_settings(ADMINS=[("root", "root@example.org")], DEBUG=False):
        browser = Client(raise_request_exception=False)
        answer = browser.post("/login/", {"username": "anna", "password": PASSWORD})
    assert answer.status_code == 500
    [sent] = mail.outbox
    told = f"{sent.subject}{sent.body}"
    assert "the database is gone" in told + caplog.text
    assert PASSWORD not in told + caplog.text + answer.content.decode()


def test_the_search_finds_what_lies_open() -> None:
    """Or the test above could not fail."""
    User.objects.create(username="canary-in-the-open")
    assert "canary-in-the-open" in database_text()


def use_everything() -> tuple[dict[str, str], list[str]]:
    """Log in, change things, fail at them, look at every page; return the secrets and what was shown."""
    secrets, pages = {"password": PASSWORD}, list[str]()
    browser = browser_of("anna", "administrator")
    anna = User.objects.get()
    anna.set_password(PASSWORD)
    anna.save()
    browser.force_login(anna)
    secrets |= key_material()

    def look(answer: Any) -> None:
        pages.append(f"{answer.headers}\n{answer.getvalue().decode(errors='replace')}")

    # Its page is not looked at: it gives back what was typed into the name's field.
    Client().post("/login/", {"username": PASSWORD, "password": "wrong"})
    look(Client().post("/login/", {"username": "anna", "password": f"{PASSWORD}x"}))
    # These three show their secret this once.
    browser.post("/account/second-factor/begin/")
    secrets["secret of the app"] = second_factor.pending_secret(anna) or ""
    code = totp.code_of(secrets["secret of the app"], int(time.time()) // 30)
    shown = browser.post("/account/second-factor/", {"code": code}).content.decode()
    secrets |= {
        f"recovery code {i}": c for i, c in enumerate(re.findall(r"(?:[a-z2-9]{4}-){3}[a-z2-9]{4}", shown))
    }
    shown = browser.post("/account/tokens/add/", {"name": "x", "scope": "read", "days": "1"}).content.decode()
    secrets["token"] = re.findall(r"rft_[\w-]{43}", shown)[0]
    assert len(secrets) >= 17

    look(browser.post("/reauthenticate/", {"password": f"{PASSWORD}x", "code": secrets["recovery code 1"]}))
    look(browser.post("/reauthenticate/", {"password": PASSWORD, "code": secrets["recovery code 0"]}))
    for header in (secrets["token"], f"{secrets['token']}x"):
        look(Client().get("/tables/matrix/?format=json", headers={"Authorization": f"Bearer {header}"}))
        look(Client().get("/hosts/", headers={"Authorization": f"Bearer {header}"}))
    instance = instance_make(host_make("rustin"), "msn-a")
    look(browser.post(f"/instances/{instance.pk}/plan/{TwoSteps.name}/", {"domain": "hotmail.com"}))
    operation = Operation.objects.get()
    data = {"plan_hash": operation.plan_hash, "reason": "canary"}
    look(browser.post(f"/operations/{operation.pk}/confirm/", data))
    operations.run(operation_id=operation.pk)
    secrets |= zone_secrets(browser, look)
    arguments: dict[str, object] = {"host": "rustin", "instance": instance.pk, "operation": operation.pk}
    for name, (method, _) in ROUTES.items():
        if method == "GET" and name != "relayctl":
            look(browser.get(address(name, arguments)))
    look(browser.post("/audit/export/", {"format": "jsonl"}))
    call_command("user", "list", "--json")
    call_command("relay", "key", "--json")
    call_command("audit", "export")
    return secrets, pages


def zone_secrets(browser: Client, look: Callable[[Any], None]) -> dict[str, str]:
    """Keep a zone for each way to publish, and have its doctor use its secret where nobody listens."""
    planted = {
        "rfc2136": base64.b64encode(b"canary-Zq7-secret-of-a-TSIG-key!").decode(),
        "powerdns": "canary-Zq7-key-of-an-API",
    }
    for method, secret in planted.items():
        zone = zones.zone_save(
            name=f"{method}.example.org",
            method=method,
            servers=["127.0.0.1:1"],
            allowed_names=[f"msn.{method}.example.org"],
            tsig_name="fleet-key",
            api_url="http://127.0.0.1:1",
            secret=secret,
            actor=SYSTEM,
        )
        look(browser.post(f"/zones/{zone.pk}/doctor/"))
    with pytest.raises(SystemExit):
        call_command("dns", "check", "--json")
    return {f"secret of {method}": secret for method, secret in planted.items()}


def key_material() -> dict[str, str]:
    """Return what the files of keys hold, a line of each SSH key's own."""
    ssh = {
        name: path.read_text()
        for name, path in (("read", keys.read_key_path()), ("write", keys.write_key_path()))
    }
    return {f"{name} key": max(text.splitlines()[2:-1], key=len)[:60] for name, text in ssh.items()} | {
        "audit key": Path(settings.AUDIT_KEY_PATH).read_text().strip(),
        "sealing key": Path(settings.SEALING_KEY_PATH).read_text().strip(),
        "Django's key": str(settings.SECRET_KEY),
    }


def database_text() -> str:
    """Return everything in every table, as text."""
    rows = list[str]()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows += [str(row) for row in cursor.fetchall()]
    return "\n".join(rows)


def broker_text() -> str:
    """Return every message, with the bodies that the filesystem broker writes in base64."""
    folder = Path(settings.DATA_DIR) / "broker" / "messages"
    texts = [path.read_text() for path in folder.iterdir() if path.is_file()]
    bodies = [
        base64.b64decode(body).decode() for text in texts for body in re.findall(r'"body": "([^"]+)"', text)
    ]
    return "\n".join(texts + bodies)
