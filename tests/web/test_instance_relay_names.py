"""An instance and the relay names that lead to it: one click leads to the plan that takes its address out."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dns.models import Out, RelayName
from relays.models import Instance
from tests.factories import host_make, instance_make
from tests.ramps import ramp_row
from tests.relay_names import MSN, NEW, OLD, relay_name_make, state_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def msn_a() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", 412, 2280, "throttled", ip=OLD)


OUT, BACK = "/relay-names/{}/plan/address.out/", "/relay-names/{}/plan/address.back/"


def button(row: RelayName, path: str, address: str) -> str:
    return f'form="plan" formaction="{path.format(row.pk)}" name="address" value="{address}"'


def parts(page: str) -> tuple[str, str]:
    """Return what is abnormal now, and the matrix."""
    strip, _, matrix = page.partition('<table class="matrix">')
    return strip, matrix


def test_one_click_in_its_cell_or_its_line_takes_an_address_out(
    viewer: Client, operator: Client, msn_a: Instance
) -> None:
    assert "Take out of DNS" not in operator.get("/").content.decode()
    row = relay_name_make()
    for part in parts(operator.get("/").content.decode()):
        assert part.count(button(row, OUT, OLD)) == 1
    assert '<form id="plan" method="post"><input type="hidden" name="csrfmiddlewaretoken"' in (
        operator.get("/").content.decode()
    )
    assert "Take out of DNS" not in viewer.get("/").content.decode()


def test_one_click_puts_it_back(operator: Client, msn_a: Instance) -> None:
    row = relay_name_make()
    row.weights.filter(address=OLD).update(is_on=False)
    for part in parts(operator.get("/").content.decode()):
        assert part.count(button(row, BACK, OLD)) == 1 and "Take out of DNS" not in part


def test_an_instance_without_trouble_has_them_in_its_cell_alone(operator: Client) -> None:
    instance_make(host_make("rustin"), "msn-a", ip=OLD)
    row = relay_name_make()
    strip, matrix = parts(operator.get("/").content.decode())
    assert button(row, OUT, OLD) in matrix and button(row, OUT, OLD) not in strip


@pytest.mark.parametrize(
    ("others", "min_warm", "why"),
    [
        ([], 1, f"the only address of {MSN}: it stays"),
        ([False], 1, f"the last warm address of {MSN}: it stays"),
        ([True], 2, f"one of the last warm addresses of {MSN}: it stays"),
    ],
)
def test_the_last_warm_address_says_there_that_it_stays(
    others: list[bool], min_warm: int, why: str, operator: Client, msn_a: Instance
) -> None:
    row = relay_name_make({OLD: 1})
    for number, warm in enumerate(others, 12):
        row.weights.create(address=f"192.0.2.{number}", is_warm=warm)
    RelayName.objects.update(min_warm=min_warm)
    for part in parts(operator.get("/").content.decode()):
        assert why in part and "address.out" not in part


def test_an_address_of_several_relay_names_has_a_button_for_each_up_to_three(
    operator: Client, msn_a: Instance
) -> None:
    row = relay_name_make()
    at = row.published.get().at
    other = RelayName.objects.create(zone=row.zone, name="other.smtp.example.org")
    state_make(other, {OLD: 1, NEW: 1}, at=at)
    _, matrix = parts(operator.get("/").content.decode())
    assert f"Take out of {MSN}" in matrix and button(other, OUT, OLD) in matrix
    for number in range(2):
        more = RelayName.objects.create(zone=row.zone, name=f"n{number}.smtp.example.org")
        state_make(more, {OLD: 1, NEW: 1}, at=at)
    _, matrix = parts(operator.get("/").content.decode())
    assert "4 relay names lead here" in matrix and "address.out" not in matrix


def test_an_address_whose_ramp_has_not_begun_is_none_that_comes_back(
    operator: Client, msn_a: Instance
) -> None:
    row = relay_name_make({OLD: 0, NEW: 1, "192.0.2.13": 1})
    ramp_row(row, address=OLD, out=Out.UNSTARTED)
    row.weights.filter(address=OLD).update(is_on=False)
    assert "address.back" not in operator.get("/").content.decode()


def test_the_home_page_asks_as_often_for_many_relay_names_as_for_one(
    operator: Client, msn_a: Instance
) -> None:
    row = relay_name_make()
    with CaptureQueriesContext(connection) as few:
        operator.get("/")
    for number in range(5):
        other = RelayName.objects.create(zone=row.zone, name=f"n{number}.{MSN}")
        state_make(other, {OLD: 1, NEW: 1}, at=row.published.get().at)
    with CaptureQueriesContext(connection) as many:
        operator.get("/")
    assert len(many) == len(few)


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
