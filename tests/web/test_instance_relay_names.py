"""From what is abnormal of an instance to taking its address out: by two clicks, and a plan."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dns.models import RelayName
from relays.models import Instance
from tests.factories import host_make, instance_make
from tests.relay_names import MSN, NEW, OLD, relay_name_make, state_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def msn_a() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", 412, 2280, "throttled", ip=OLD)


def test_an_abnormal_instance_that_relay_names_lead_to_can_be_taken_out(
    viewer: Client, msn_a: Instance
) -> None:
    assert "Take out of DNS" not in viewer.get("/").content.decode()
    row = relay_name_make()
    assert f'<a class="beside" href="/instances/{msn_a.pk}/#relay-names">Take out of DNS' in (
        viewer.get("/").content.decode()
    )
    row.weights.filter(address=OLD).update(is_on=False)
    assert "Take out of DNS" not in viewer.get("/").content.decode()


def test_an_instance_shows_the_relay_names_that_lead_to_it(
    viewer: Client, operator: Client, msn_a: Instance
) -> None:
    assert "Relay names that lead here" not in viewer.get(f"/instances/{msn_a.pk}/").content.decode()
    row = relay_name_make()
    page = viewer.get(f"/instances/{msn_a.pk}/").content.decode()
    assert "Relay names that lead here" in page and page.count("83.3 %") == 2
    assert MSN in page and "address.out" not in page
    page = operator.get(f"/instances/{msn_a.pk}/").content.decode()
    assert f'action="/relay-names/{row.pk}/plan/address.out/"' in page
    state_make(row, {OLD: 0, NEW: 1}, at=row.published.get().effective_at)
    page = operator.get(f"/instances/{msn_a.pk}/").content.decode()
    assert f'action="/relay-names/{row.pk}/plan/address.back/"' in page and "out of DNS" in page


def test_the_number_of_queries_does_not_grow_with_the_relay_names(viewer: Client, msn_a: Instance) -> None:
    row = relay_name_make()
    with CaptureQueriesContext(connection) as few:
        viewer.get(f"/instances/{msn_a.pk}/")
    for number in range(5):
        other = RelayName.objects.create(zone=row.zone, name=f"n{number}.{MSN}")
        state_make(other, {OLD: 1, NEW: 1}, at=row.published.get().at)
    with CaptureQueriesContext(connection) as many:
        assert viewer.get(f"/instances/{msn_a.pk}/").content.decode().count("/relay-names/") >= 6
    assert len(many) == len(few)
