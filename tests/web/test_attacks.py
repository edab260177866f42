"""Attacks, by number of the list of acceptance tests: 45 to 47, 49, 51 to 57, 60.

The others have their places: 48 (hostile logs) in tests/agent/test_log_follow.py, test_log_read.py and
tests/domain/test_maillog_fuzz.py; 50 (formulas) in tests/domain/test_exporting.py; 58 (a planted secret) in
tests/web/test_secrets.py; 59 (messages in the broker) in tests/processes/test_hostile_messages.py.
"""

import random
from collections.abc import Iterator

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory, override_settings

from fleet.accounts import client_address
from relays.models import AuditEvent, Host, Instance, Operation
from relays.models.operation import OperationState
from relays.services import operations
from tests.factories import host_make, instance_make
from tests.hostile_forms import HOSTILE, make_world, send
from tests.people import PASSWORD, browser_of, user_make
from tests.two_steps import FarSide, TwoSteps, registered
from tests.web.test_roles import ROUTES, address

pytestmark = pytest.mark.django_db


@pytest.fixture
def far() -> Iterator[FarSide]:
    with registered() as far:
        yield far


@pytest.fixture
def instance() -> Instance:
    return instance_make(host_make("rustin"), "msn-a", provider="msn")


def planned(browser: Client, instance: Instance, **fields: str) -> Operation:
    browser.post(f"/instances/{instance.pk}/plan/{TwoSteps.name}/", fields)
    return Operation.objects.latest("pk")


def confirm(browser: Client, operation: Operation) -> int:
    data = {"plan_hash": operation.plan_hash, "reason": "stuck"}
    return browser.post(f"/operations/{operation.pk}/confirm/", data).status_code


# 45 to 47: what names something is taken as a key into what is known, or not at all.
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_reach_no_host_and_break_no_page(text: str, instance: Instance) -> None:
    browser = browser_of("anna", "administrator")
    found = [
        browser.get("/search/", {"q": text}),
        browser.get("/operations/", {"instance": text, "kind": text, "state": text, "who": text}),
        browser.get(
            "/audit/", {"who": text, "what": text, "instance": text, "since": text, "operation": text}
        ),
        browser.get("/", {"open": text, "abnormal": text, "tag": text}),
        browser.get("/origins/", {"provider": text, "page": text}),
        browser.post(f"/instances/{instance.pk}/plan/queue.run/", {"domain": text}),
        browser.post(f"/instances/{instance.pk}/match/", {"provider": text}),
        browser.post("/add-host/", {"name": text, "ssh_address": text, "ssh_port": text, "ssh_user": text}),
        browser.post("/hosts/rustin/change/", {"name": text, "ssh_address": text, "ssh_port": "22"}),
        browser.post("/hosts/rustin/remove/", {"name": text}),
        browser.post("/account/sessions/end/", {"session": text}),
    ]
    assert [answer.status_code for answer in found if answer.status_code >= 500] == []
    assert all("<script>alert(1)" not in answer.getvalue().decode() for answer in found)
    assert not Operation.objects.exists()
    assert list(Host.objects.values_list("name", "ssh_address")) == [("rustin", "rustin.example")]


# 49: hostile text of a reply is shown inert.
def test_hostile_text_of_a_host_is_shown_as_text(instance: Instance) -> None:
    instance.name = "<script>alert(1)</script>\u202e\x1b[31m"
    instance.save()
    browser = browser_of("vera", "viewer")
    for path in ("/", "/hosts/rustin/", f"/instances/{instance.pk}/", "/search/?q=script"):
        page = browser.get(path, follow=True).content.decode()
        assert "&lt;script&gt;alert(1)" in page, path
        assert not {"\u202e", "\x1b"} & set(page), path
        assert "<script>alert" not in page, path


# 51: each POST address of the operator, as a viewer (tests/web/test_roles.py does so for every role).
@pytest.mark.parametrize(
    "name", [name for name, (method, whose) in ROUTES.items() if whose in ("operator", "administrator")]
)
def test_a_viewer_is_refused_and_it_is_an_event(name: str, instance: Instance, far: FarSide) -> None:
    vera = browser_of("vera", "viewer")
    place = {"host": "rustin", "instance": instance.pk, "operation": operation_of(instance).pk}
    answer = vera.generic(ROUTES[name][0], address(name, place))
    assert answer.status_code == 403
    event = AuditEvent.objects.get(phase="denied")
    assert event.actor_name == "vera"


def operation_of(instance: Instance) -> Operation:
    return Operation.objects.create(
        kind="queue.run", instance=instance, plan_hash="0" * 64, planned_at="2026-01-01T00:00:00Z"
    )


# 52: forged requests.
@pytest.mark.parametrize("name", [name for name, (method, _) in ROUTES.items() if method == "POST"])
def test_no_form_is_taken_without_its_token_or_by_get(name: str, instance: Instance) -> None:
    place: dict[str, object] = {
        "host": "rustin",
        "instance": instance.pk,
        "operation": operation_of(instance).pk,
    }
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user_make("anna", "administrator"))
    assert browser.post(address(name, place)).status_code == 403
    got = browser.get(address(name, place))
    # A page of its own shows a form; what has none is refused by the method.
    assert got.status_code in (200, 302, 404, 405)
    assert AuditEvent.objects.exclude(phase="denied").count() == 0


def test_a_foreign_origin_is_refused_even_with_the_token(instance: Instance) -> None:
    browser = Client(enforce_csrf_checks=True, headers={"Origin": "https://evil.example"})
    browser.force_login(user_make("anna", "administrator"))
    browser.get("/account/", headers={"Origin": ""})
    token = browser.cookies["fleet_csrf"].value
    assert browser.post("/hosts/rustin/poll/", {"csrfmiddlewaretoken": token}).status_code == 403


@pytest.mark.parametrize("name", [name for name, (method, whose) in ROUTES.items() if method == "GET"])
def test_no_page_can_be_framed_or_run_a_foreign_script(name: str, instance: Instance) -> None:
    place: dict[str, object] = {
        "host": "rustin",
        "instance": instance.pk,
        "operation": operation_of(instance).pk,
    }
    answer = browser_of("anna", "administrator").get(address(name, place))
    assert answer.headers["X-Frame-Options"] == "DENY"
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@override_settings(SESSION_COOKIE_SECURE=True)
def test_a_sessions_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    user_make("anna", "viewer")
    browser = Client()
    browser.post("/login/", {"username": "anna", "password": PASSWORD})
    cookie = browser.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", True)


def test_a_log_in_takes_no_session_that_somebody_else_chose() -> None:
    user_make("anna", "viewer")
    browser = Client()
    browser.session["planted"] = 1
    before = browser.session.session_key
    browser.post("/login/", {"username": "anna", "password": PASSWORD})
    assert browser.cookies[settings.SESSION_COOKIE_NAME].value != before


# 53: between plan, confirmation and run.
def test_a_session_that_ended_confirms_nothing(far: FarSide, instance: Instance) -> None:
    browser = browser_of("anna", "operator")
    operation = planned(browser, instance)
    browser.post("/logout/")
    assert confirm(browser, operation) == 302
    operation.refresh_from_db()
    assert operation.state == OperationState.PLANNED


@pytest.mark.parametrize("change", ["demoted", "disabled", "deleted"])
def test_who_lost_the_right_after_asking_does_not_get_it(
    change: str, far: FarSide, instance: Instance
) -> None:
    browser = browser_of("anna", "operator")
    operation = planned(browser, instance)
    assert confirm(browser, operation) == 302
    anna = User.objects.get()
    if change == "demoted":
        anna.groups.set(Group.objects.filter(name="viewer"))
    elif change == "disabled":
        User.objects.update(is_active=False)
    else:
        anna.delete()
    operations.run(operation_id=operation.pk)
    operation.refresh_from_db()
    assert operation.state == OperationState.FAILED_SAFE
    assert far.effects == []


# 54: the same request twice.
def test_54_the_same_key_with_other_parameters_is_refused(far: FarSide, instance: Instance) -> None:
    browser = browser_of("anna", "operator")
    address = f"/instances/{instance.pk}/plan/{TwoSteps.name}/"

    def ask(key: str, domain: str) -> tuple[int, str]:
        answer = browser.post(address, {"domain": domain}, headers={"Idempotency-Key": key})
        return answer.status_code, answer.headers.get("Location", "")

    first = ask("k-1", "hotmail.com")
    assert first[0] == 302
    assert ask("k-1", "hotmail.com") == first
    assert ask("k-1", "outlook.com")[0] == 409
    assert ask("k-2", "outlook.com")[1] != first[1]
    for wrong in ("a b", "k" * 81, "\u043a", "../k", "k\n"):
        assert ask(wrong, "hotmail.com")[0] == 400
    assert Operation.objects.count() == 2


# 55: a plan that holds no more is tested in tests/web/test_operations.py.
# 56: places to go to.
@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:///evil.example",
        "\t//evil.example",
    ],
)
def test_no_address_leads_to_another_site(place: str) -> None:
    user_make("anna", "viewer")
    form = {"username": "anna", "password": PASSWORD, "next": place}
    assert Client().post("/login/", form).headers["Location"] == "/"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../fleet/settings.py",
        "/static/%2e%2e/manage.py",
        "/relayctl.pyz/../manage.py",
        "/hosts/..%2f..%2fetc/",
    ],
)
def test_no_path_leads_out_of_its_folder(path: str) -> None:
    assert browser_of("anna", "administrator").get(path).status_code == 404


@pytest.mark.parametrize(
    "place",
    [
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "::ffff:169.254.169.254",
        "255.255.255.255",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "127.1",
        "0x7f000001",
        "2852039166",
        "rustin.example/../x",
    ],
)
def test_56_no_host_lies_where_none_can(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("relays.services.hosts.ssh.probe", lambda address, port: asked.append(address))
    form = {"name": "rustin", "ssh_address": place, "ssh_port": "22", "ssh_user": "relay-read"}
    page = browser_of("anna", "administrator").post("/add-host/", form)
    assert page.status_code == 200
    assert asked == []
    assert not Host.objects.exists()


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::1", ""]
)
def test_56_by_no_other_name_does_a_browser_reach_the_console(name: str) -> None:
    """A site whose name is bound anew to the console's address is still the site in the browser's request."""
    assert browser_of("anna", "administrator").get("/", headers={"Host": name}).status_code == 400


# Whatever a host's name leads to once it is saved: tests/remote/test_rebinding.py.
@pytest.mark.parametrize("form", ["../../etc/passwd", "csv/../../x", "jsonl\n", "", "exe"])
def test_56_no_export_is_called_what_somebody_likes(form: str) -> None:
    browser = browser_of("anna", "administrator")
    answers = [
        browser.post("/audit/export/", {"format": form}),
        browser.get("/tables/matrix/", {"format": form}),
    ]
    for answer in answers:
        assert answer.status_code < 500
        named = answer.headers.get("Content-Disposition", "")
        assert "/" not in named
        assert ".." not in named


# 57: guesses under many names for where they come from.
def test_a_spoofed_header_hides_no_guesser_and_locks_nobody_else() -> None:
    user_make("anna", "viewer")
    browser = Client()
    statuses = [guess(browser, f"198.51.100.{i}", "192.0.2.1") for i in range(200)]
    assert statuses[:4] == [200] * 4
    assert set(statuses[5:]) == {429}
    assert AccessAttempt.objects.count() == 1
    assert guess(Client(), "192.0.2.1", "192.0.2.7", PASSWORD) == 302


@pytest.mark.parametrize("proxies", [1, 2])
def test_behind_proxies_only_their_own_entries_count(proxies: int) -> None:
    user_make("anna", "viewer")
    inner = ", 10.0.0.1" * (proxies - 1)
    with override_settings(TRUSTED_PROXIES=proxies):
        browser = Client()
        statuses = [guess(browser, f"198.51.100.{i}, 192.0.2.1{inner}", "127.0.0.1") for i in range(20)]
        assert set(statuses[5:]) == {429}
        assert guess(Client(), f"192.0.2.1, 192.0.2.7{inner}", "127.0.0.1", PASSWORD) == 302


@pytest.mark.parametrize("header", ["", "no address", "192.0.2.1:443", ",", "<script>"])
def test_a_header_that_no_proxy_of_ours_wrote_counts_for_nothing(header: str) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR=header)
    with override_settings(TRUSTED_PROXIES=1):
        assert client_address(request) == "127.0.0.1"


def guess(browser: Client, forwarded: str, peer: str, password: str = "guess") -> int:
    form = {"username": "anna", "password": password}
    return browser.post("/login/", form, REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded).status_code


# 60: whatever is posted, nothing breaks; `./run bench attacks` posts 50,000.
def test_60_random_forms_break_no_page(far: FarSide) -> None:
    dice = random.Random(60)
    world = make_world()
    assert len(world.forms) > 25
    assert [broken for _ in range(300) if (broken := send(world, dice))] == []
    # Some got as far as the change that they ask for.
    assert AuditEvent.objects.filter(phase="succeeded").values("action").distinct().count() > 5
