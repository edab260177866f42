"""Pages over hosts: the real services, with the one call that reaches for the network handed in."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from relays.models import Host
from relays.remote.errors import Unreachable
from relays.remote.keys import fingerprint
from relays.services.doctor import Check
from tests.factories import HOST_KEY, fleet_make, host_make, instance_make

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ2XF2vJ5vLbQ1u1pS7k7m9gq0b6hC0mQ1X2b6H0x0a"
WHERE = {"name": "rustin", "ssh_address": "192.0.2.10", "ssh_port": "22", "ssh_user": "relay-read"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def offered() -> Iterator[str]:
    """Every address offers this key."""
    with patch("relays.services.hosts.ssh.probe", return_value=HOST_KEY):
        yield HOST_KEY


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/hosts/rustin/doctor/", {"POST"}),
        ("/hosts/rustin/poll/", {"POST"}),
        ("/hosts/rustin/switch/", {"POST"}),
        ("/hosts/", {"GET"}),
        ("/hosts/rustin/", {"GET"}),
        ("/add-host/", {"GET", "POST"}),
        ("/hosts/rustin/key/", {"GET", "POST"}),
        ("/hosts/rustin/change/", {"GET", "POST"}),
        ("/hosts/rustin/remove/", {"GET", "POST"}),
    ],
)
def test_each_page_takes_its_methods_only_and_nobody_anonymous(
    operator: Client, client: Client, path: str, methods: set[str]
) -> None:
    host_make("rustin")
    for method in {"GET", "POST"} - methods:
        assert operator.generic(method, path).status_code == 405
    for method in methods:
        assert client.generic(method, path)["Location"] == f"/login/?next={path}"


@pytest.mark.parametrize(
    "path",
    [
        "/add-host/",
        "/hosts/rustin/poll/",
        "/hosts/rustin/switch/",
        "/hosts/rustin/key/",
        "/hosts/rustin/change/",
        "/hosts/rustin/remove/",
    ],
)
def test_a_viewer_may_change_nothing(viewer: Client, path: str) -> None:
    host_make("rustin")
    answer = viewer.post(path, WHERE)
    assert answer.status_code == 403
    assert "none of its roles allows it" in answer.content.decode()
    assert Host.objects.get().enabled


def test_a_viewer_sees_no_button_that_would_be_refused(viewer: Client) -> None:
    host_make("rustin")
    page = viewer.get("/hosts/rustin/").content.decode()
    assert "Poll now" not in page
    assert "Remove" not in page
    assert "Add a host" not in viewer.get("/hosts/").content.decode()


def test_a_permission_of_django_is_enough(viewer: Client) -> None:
    host_make("rustin")
    vera = User.objects.get(username="vera")
    vera.user_permissions.add(Permission.objects.get(codename="poll_host"))
    assert viewer.post("/hosts/rustin/poll/")["Location"] == "/hosts/rustin/"


def test_the_list_shows_each_host_with_its_state_and_age(viewer: Client) -> None:
    fleet_make()
    page = viewer.get("/hosts/").content.decode()
    assert page.index(">cleveland<") < page.index(">ohara<") < page.index(">rustin<")
    assert "unreachable" in page
    assert "14 min ago" in page


def test_an_empty_list_gives_the_steps(operator: Client) -> None:
    assert "Add your first host" in operator.get("/hosts/").content.decode()


def test_a_host_shows_its_rule_its_error_and_its_figures(viewer: Client) -> None:
    fleet_make()
    page = viewer.get("/hosts/ohara/").content.decode()
    assert "No SSH connection, or none that answered before its deadline." in page
    assert "no answer within 10 s" in page
    assert fingerprint(HOST_KEY) in page
    assert "31.0 GiB" in page


def test_a_clock_that_is_off_is_told(viewer: Client) -> None:
    host_make("rustin", clock_skew_s=-3600.0)
    assert "1 h behind the console" in viewer.get("/hosts/rustin/").content.decode()


def test_a_host_that_is_not_there_is_404(viewer: Client) -> None:
    answer = viewer.get("/hosts/nobody/")
    assert answer.status_code == 404
    assert "Nothing here" in answer.content.decode()


def test_adding_shows_the_fingerprint_first_and_stores_nothing(operator: Client, offered: str) -> None:
    page = operator.post("/add-host/", WHERE).content.decode()
    assert fingerprint(offered) in page
    assert not Host.objects.exists()


def test_adding_pins_the_key_that_was_accepted(operator: Client, offered: str) -> None:
    answer = operator.post("/add-host/", WHERE | {"host_key": offered}, follow=True)
    host = Host.objects.get()
    assert (host.name, host.host_key, host.ssh_user) == ("rustin", offered, "relay-read")
    assert host.next_poll_at is not None
    assert "first poll is under way" in answer.content.decode()


def test_a_host_that_does_not_answer_is_told_beside_its_address(operator: Client) -> None:
    with patch("relays.services.hosts.ssh.probe", side_effect=Unreachable("no answer within 10 s")):
        page = operator.post("/add-host/", WHERE).content.decode()
    assert "no answer within 10 s" in page
    assert 'value="192.0.2.10"' in page


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "two words"}, "letters, numbers"),
        ({"ssh_port": "0"}, "greater than or equal to 1"),
        ({"ssh_address": ""}, "required"),
    ],
)
def test_a_wrong_field_is_told_beside_it(operator: Client, changed: dict[str, str], told: str) -> None:
    assert told in operator.post("/add-host/", WHERE | changed).content.decode()


def test_a_name_that_is_taken_is_told_before_the_network_is_touched(operator: Client) -> None:
    host_make("rustin")
    assert "Another host has this name." in operator.post("/add-host/", WHERE).content.decode()


def test_an_address_that_is_none_is_refused_by_the_service(operator: Client) -> None:
    form = WHERE | {"ssh_address": "-oProxyCommand=x", "host_key": HOST_KEY}
    assert "without a port" in operator.post("/add-host/", form).content.decode()
    assert not Host.objects.exists()


def test_a_made_up_key_is_refused(operator: Client) -> None:
    page = operator.post("/add-host/", WHERE | {"host_key": "no key"}).content.decode()
    assert "A host key is one of" in page
    assert not Host.objects.exists()


def test_poll_now_makes_it_due(operator: Client) -> None:
    host_make("rustin")
    operator.post("/hosts/rustin/poll/")
    due = Host.objects.get().next_poll_at
    assert due is not None
    assert due <= timezone.now()


def test_a_host_that_is_off_is_not_polled(operator: Client) -> None:
    host_make("rustin", enabled=False)
    page = operator.post("/hosts/rustin/poll/", follow=True).content.decode()
    assert "it is not polled" in page


def test_it_switches_off_and_on(operator: Client) -> None:
    host_make("rustin")
    operator.post("/hosts/rustin/switch/", {"on": "0"})
    assert not Host.objects.get().enabled
    assert "Not polled: it was switched off here." in operator.get("/hosts/rustin/").content.decode()
    operator.post("/hosts/rustin/switch/", {"on": "1"})
    assert Host.objects.get().enabled


def test_a_changed_key_is_shown_beside_the_accepted_one(operator: Client) -> None:
    host_make("rustin", last_outcome="key_changed", offered_key=OTHER_KEY)
    page = operator.get("/hosts/rustin/key/").content.decode()
    assert fingerprint(HOST_KEY) in page
    assert fingerprint(OTHER_KEY) in page


def test_the_compared_key_is_accepted(operator: Client) -> None:
    host_make("rustin", last_outcome="key_changed", offered_key=OTHER_KEY)
    operator.post("/hosts/rustin/key/", {"host_key": OTHER_KEY})
    assert (Host.objects.get().host_key, Host.objects.get().offered_key) == (OTHER_KEY, "")


def test_another_key_than_the_compared_one_is_not_accepted(operator: Client) -> None:
    host_make("rustin", last_outcome="key_changed", offered_key=OTHER_KEY)
    page = operator.post("/hosts/rustin/key/", {"host_key": HOST_KEY}, follow=True).content.decode()
    assert "compare again" in page
    assert Host.objects.get().host_key == HOST_KEY
    assert Host.objects.get().offered_key == OTHER_KEY


def test_an_offer_that_is_no_key_is_shown_and_inert(operator: Client) -> None:
    host_make("rustin", last_outcome="key_changed", offered_key="<script>alert(1)</script>")
    page = operator.get("/hosts/rustin/key/").content.decode()
    assert "<script>alert" not in page
    assert "no key:" in page


def test_it_changes_where_a_host_is(operator: Client) -> None:
    host_make("rustin")
    form = WHERE | {"name": "rustin-2", "ssh_port": "2222", "poll_interval_s": "120"}
    assert operator.post("/hosts/rustin/change/", form)["Location"] == "/hosts/rustin-2/"
    host = Host.objects.get()
    assert (host.ssh_address, host.ssh_port, host.poll_interval_s) == ("192.0.2.10", 2222, 120)
    assert host.host_key == HOST_KEY


def test_a_change_to_a_taken_name_is_refused(operator: Client) -> None:
    host_make("rustin")
    host_make("cleveland")
    page = operator.post("/hosts/rustin/change/", WHERE | {"name": "cleveland"}).content.decode()
    assert "already exists" in page
    assert Host.objects.filter(name="rustin").exists()


def test_removing_needs_the_name_typed(operator: Client) -> None:
    instance_make(host_make("rustin"), "msn-a", 5, 60)
    assert "nothing was removed" in operator.post("/hosts/rustin/remove/", {"name": "rusty"}).content.decode()
    assert Host.objects.exists()
    assert operator.post("/hosts/rustin/remove/", {"name": "rustin"})["Location"] == "/hosts/"
    assert not Host.objects.exists()


def test_doctor_shows_each_precondition_with_what_to_do(operator: Client) -> None:
    host_make("rustin")
    checks = [
        Check("ssh", True, "SSH answers", "in 20 ms"),
        Check("disk", None, "Spool has room", "not known"),
        Check("log", False, "Logs <b>readable</b>", "permission denied", "usermod -aG adm relay-read"),
    ]
    with patch("relays.views.hosts.examine", return_value=checks):
        fragment = operator.post("/hosts/rustin/doctor/", headers={"HX-Request": "true"}).content.decode()
        page = operator.post("/hosts/rustin/doctor/").content.decode()
    assert fragment.lstrip().startswith('<ul class="checks">')
    for words in ("holds", "not known", "does not hold", "usermod -aG adm relay-read", "&lt;b&gt;readable"):
        assert words in fragment
        assert words in page
    assert "<title>Doctor of rustin" in page


def test_the_doctor_of_a_dead_host_answers(operator: Client) -> None:
    host_make("rustin", ssh_address="127.0.0.1", ssh_port=9)
    answer = operator.post("/hosts/rustin/doctor/")
    assert answer.status_code == 200
    assert "does not hold" in answer.content.decode()
