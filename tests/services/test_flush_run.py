"""A flush whose run is stopped while its redirect is on: the redirect is given back, whatever stopped it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from relays.models import Flush
from relays.models.flush import FlushState
from relays.remote.flush import Peer
from relays.services import flush_run
from relays.services.flush_run import Ends
from relays.services.job import Aborted, Failed, Job, Stopped, Unknown
from tests.factories import host_make, instance_make, operation_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def flush() -> Flush:
    source, target = (instance_make(host_make(host), name) for host, name in (("a", "msn-a"), ("b", "msn-b")))
    return Flush.objects.create(
        operation=operation_make(source, state="running"), source=source, target=target, state="active"
    )


def ends_of(flush: Flush) -> Ends:
    assert flush.source is not None
    assert flush.target is not None
    return Ends(flush.source, flush.target, Peer("192.0.2.2"), "192.0.2.1")


@pytest.mark.parametrize(
    "stopped",
    [Aborted("anna asked for it to stop."), Failed("The host refused."), Unknown("Whether it was done.")],
)
def test_what_stops_a_step_while_the_redirect_is_on_gives_it_back(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, stopped: Stopped
) -> None:
    def stop(_machine: object) -> None:
        raise stopped

    def given_back(machine: flush_run._Machine) -> None:
        assert machine.flush.state == FlushState.REVERTING
        machine._move_to(FlushState.ENDED, given_back_at=timezone.now())

    monkeypatch.setattr(flush_run._Machine, "watch", stop)
    monkeypatch.setattr(flush_run._Machine, "give_back", given_back)
    with pytest.raises(Failed, match=str(stopped)):
        flush_run.run(Job(flush.operation), flush, ends_of(flush))
    flush.refresh_from_db()
    assert flush.given_back_at is not None
    assert flush.why_ended == str(stopped)


def test_what_was_refused_before_the_redirect_was_on_needs_no_giving_back(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_machine: object) -> None:
        raise Failed("The host refused.")

    Flush.objects.update(state="armed")
    flush.refresh_from_db()
    monkeypatch.setattr(flush_run._Machine, "put_on", refuse)
    with pytest.raises(Failed, match="The host refused"):
        flush_run.run(Job(flush.operation), flush, ends_of(flush), lease=timedelta(minutes=1))
    flush.refresh_from_db()
    assert flush.state == FlushState.ARMED
