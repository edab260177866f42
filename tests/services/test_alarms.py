"""What lasts is mailed to the operators once, and again only after it was over."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.utils import timezone

from relays.models import Alarm, Host, Instance, InstanceRedirect
from relays.services import alarms
from tests.factories import host_make, instance_make, operation_make

pytestmark = pytest.mark.django_db

NOW = timezone.now()
SOON = NOW + timedelta(minutes=6)


@pytest.fixture(autouse=True)
def _mail(settings: Any) -> None:
    settings.EMAIL_URL = "smtp://127.0.0.1:25"
    settings.ALERTS_TO = ["night@example.org"]


@pytest.fixture
def msn_a() -> Instance:
    return instance_make(host_make("rustin"), "msn-a")


def redirect(instance: Instance, **fields: Any) -> InstanceRedirect:
    given = {"seen_at": NOW, "to": "[198.51.100.12]:25", "ends_at": NOW + timedelta(hours=1)} | fields
    return InstanceRedirect.objects.create(instance=instance, **given)


def subjects() -> list[str]:
    return [str(message.subject) for message in mail.outbox]


def test_a_changed_host_key_is_told_once_until_it_was_well_again() -> None:
    host_make("rustin")
    alarms.look(now=NOW)
    assert not mail.outbox
    Host.objects.update(last_outcome="key_changed")
    for _ in range(3):
        alarms.look(now=NOW)
    assert subjects() == ["[Relay Fleet] rustin answers with another host key"]
    assert mail.outbox[0].to == ["night@example.org"]
    for outcome in ("unreachable", "key_changed"):
        Host.objects.update(last_outcome=outcome)
        alarms.look(now=NOW)
    assert len(mail.outbox) == 1
    for outcome in ("incomplete", "key_changed"):
        Host.objects.update(last_outcome=outcome)
        alarms.look(now=NOW)
    assert len(mail.outbox) == 2


def test_a_redirect_that_no_flush_watches_is_told_when_it_lasts(msn_a: Instance) -> None:
    redirect(msn_a, to="?", problem="by hand\r\nBcc: x@example.org")
    alarms.look(now=NOW)
    assert not mail.outbox
    alarms.look(now=SOON)
    assert subjects() == ["[Relay Fleet] Mail of msn-a on rustin is redirected"]
    assert "No flush of this console" in mail.outbox[0].body
    assert "\r" not in mail.outbox[0].body


def test_the_redirect_of_a_live_flush_is_no_alarm_until_its_time_is_over(msn_a: Instance) -> None:
    flush = operation_make(msn_a, state="running")
    type(flush).objects.update(kind="flush")
    redirect(msn_a, op_id=str(flush.pk))
    alarms.look(now=NOW)
    alarms.look(now=SOON)
    assert not mail.outbox
    InstanceRedirect.objects.update(ends_at=NOW - timedelta(minutes=1))
    alarms.look(now=NOW)
    alarms.look(now=SOON)
    assert "the guard on the host is gone" in mail.outbox[0].body


def test_what_could_not_be_mailed_is_mailed_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_message: EmailMessage) -> None:
        raise OSError("no route")

    host_make("rustin")
    Host.objects.update(last_outcome="key_changed")
    with monkeypatch.context() as away:
        away.setattr(EmailMessage, "send", refuse)
        alarms.look(now=NOW)
    assert Alarm.objects.get().told_at is None
    alarms.look(now=NOW)
    assert len(mail.outbox) == 1


def test_a_worker_killed_while_it_mails_leaves_it_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_message: EmailMessage) -> None:
        raise KeyboardInterrupt

    host_make("rustin")
    Host.objects.update(last_outcome="key_changed")
    with monkeypatch.context() as away:
        away.setattr(EmailMessage, "send", die)
        with pytest.raises(KeyboardInterrupt):
            alarms.look(now=NOW)
    # It may be at it still.
    alarms.look(now=NOW + timedelta(minutes=4))
    assert not mail.outbox
    alarms.look(now=SOON)
    assert len(mail.outbox) == 1
    alarms.look(now=SOON)
    assert len(mail.outbox) == 1


def test_without_mail_nothing_is_looked_for(settings: Any) -> None:
    settings.EMAIL_URL = ""
    host_make("rustin")
    Host.objects.update(last_outcome="key_changed")
    alarms.look(now=NOW)
    assert not Alarm.objects.exists()
