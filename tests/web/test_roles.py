"""Every address of the console, and what each role gets there.

A route that stands in no line here fails: whoever adds one decides who may use it.
"""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from relays.models import AuditEvent, Instance, Operation
from relays.models import Client as MailClient
from relays.services import doctor
from tests.factories import host_make, instance_make
from tests.people import browser_of
from tests.two_steps import registered

pytestmark = pytest.mark.django_db

ROLES = ("viewer", "operator", "administrator")
OPEN, OWN, VIEWER, OPERATOR, ADMINISTRATOR = "open", "own", "viewer", "operator", "administrator"

# Route: (method, who it is for). open: anybody; own: everybody who is logged in, with a role or without.
ROUTES = {
    "matrix": ("GET", VIEWER),
    "matrix-table": ("GET", VIEWER),
    "search": ("GET", VIEWER),
    "relayctl": ("GET", OPEN),
    "login": ("GET", OPEN),
    "login-code": ("GET", OPEN),
    "sign-on": ("GET", OPEN),
    "sign-on-done": ("GET", OPEN),
    "logout": ("POST", OWN),
    "password": ("GET", OWN),
    "reauthenticate": ("GET", OWN),
    "account": ("GET", OWN),
    "second-factor": ("GET", OWN),
    "second-factor-begin": ("POST", OWN),
    "second-factor-off": ("POST", OWN),
    "recovery-codes": ("POST", OWN),
    "session-end": ("POST", OWN),
    "token-add": ("POST", OWN),
    "token-remove": ("POST", OWN),
    "healthz": ("GET", OPEN),
    "readyz": ("GET", OPEN),
    "relays:host-list": ("GET", VIEWER),
    "relays:host-add": ("POST", ADMINISTRATOR),
    "relays:host": ("GET", VIEWER),
    "relays:host-doctor": ("POST", OPERATOR),
    "relays:host-poll": ("POST", OPERATOR),
    "relays:host-key": ("POST", ADMINISTRATOR),
    "relays:host-change": ("POST", ADMINISTRATOR),
    "relays:host-switch": ("POST", ADMINISTRATOR),
    "relays:host-remove": ("POST", ADMINISTRATOR),
    "relays:instance": ("GET", VIEWER),
    "relays:instance-match": ("POST", OPERATOR),
    "relays:instance-counts": ("GET", VIEWER),
    "relays:instance-ages": ("GET", VIEWER),
    "relays:instance-chart": ("GET", VIEWER),
    "relays:instance-table": ("GET", VIEWER),
    "relays:origin-list": ("GET", VIEWER),
    "relays:origin-add": ("POST", OPERATOR),
    "relays:origin": ("GET", VIEWER),
    "relays:origin-change": ("POST", OPERATOR),
    "relays:origin-remove": ("POST", OPERATOR),
    "relays:client-adopt": ("POST", OPERATOR),
    "relays:domain-provider": ("POST", OPERATOR),
    "relays:flush-new": ("POST", OPERATOR),
    "relays:flush-recipients": ("GET", OPERATOR),
    "relays:flush-steer": ("POST", OPERATOR),
    "relays:operation-plan": ("POST", OPERATOR),
    "relays:queues": ("GET", VIEWER),
    "relays:message": ("GET", VIEWER),
    "relays:message-headers": ("POST", OPERATOR),
    "relays:message-body": ("POST", OPERATOR),
    "relays:host-bodies": ("POST", ADMINISTRATOR),
    "relays:deletion-undo": ("POST", OPERATOR),
    "relays:operation-list": ("GET", OPERATOR),
    "relays:operation": ("GET", OPERATOR),
    "relays:operation-confirm": ("POST", OPERATOR),
    "relays:operation-abort": ("POST", OPERATOR),
    "relays:audit-list": ("GET", OPERATOR),
    "relays:audit-export": ("POST", ADMINISTRATOR),
    "relays:provider-list": ("GET", VIEWER),
    "relays:provider-add": ("POST", OPERATOR),
    "relays:provider": ("GET", VIEWER),
    "relays:provider-chart": ("GET", VIEWER),
    "relays:provider-table": ("GET", VIEWER),
    "relays:provider-change": ("POST", OPERATOR),
    "dns:origin-transport": ("GET", VIEWER),
    "dns:zone-list": ("GET", ADMINISTRATOR),
    "dns:zone-add": ("POST", ADMINISTRATOR),
    "dns:zone-change": ("POST", ADMINISTRATOR),
    "dns:zone-remove": ("POST", ADMINISTRATOR),
    "dns:zone-doctor": ("POST", ADMINISTRATOR),
    "dns:relay-name-list": ("GET", VIEWER),
    "dns:relay-name": ("GET", VIEWER),
    "dns:relay-name-chart": ("GET", VIEWER),
    "dns:relay-name-preview": ("POST", OPERATOR),
    "dns:relay-name-accept": ("POST", OPERATOR),
    "dns:relay-name-change": ("POST", OPERATOR),
    "dns:relay-name-plan": ("POST", OPERATOR),
    "dns:address": ("GET", VIEWER),
    "dns:address-note": ("POST", OPERATOR),
    "dns:ramp-list": ("GET", VIEWER),
    "dns:ramp-new": ("POST", OPERATOR),
    "dns:ramp": ("GET", VIEWER),
    "dns:ramp-chart": ("GET", VIEWER),
    "dns:ramp-steer": ("POST", OPERATOR),
    "dns:ramp-edit": ("POST", OPERATOR),
    "relays:trace-form": ("GET", VIEWER),
    "relays:trace-begin": ("POST", VIEWER),
    "relays:trace": ("GET", VIEWER),
    "relays:trace-end": ("POST", VIEWER),
    "relays:reason-list": ("GET", VIEWER),
    "relays:reason": ("GET", VIEWER),
    "relays:reason-rules": ("GET", VIEWER),
    "relays:reason-rule-add": ("POST", OPERATOR),
    "relays:reason-rule-change": ("POST", OPERATOR),
    "relays:reason-rule-remove": ("POST", OPERATOR),
}
REACHES = {
    OPEN: {"anonymous", "nobody", *ROLES},
    OWN: {"nobody", *ROLES},
    VIEWER: set(ROLES),
    OPERATOR: {OPERATOR, ADMINISTRATOR},
    ADMINISTRATOR: {ADMINISTRATOR},
}
REFUSED = {"anonymous": 302, "nobody": 403, "viewer": 403, "operator": 403}


def routes() -> dict[str, URLPattern]:
    return dict(_walk(get_resolver().url_patterns, ""))


def _walk(patterns: list[URLPattern | URLResolver], space: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            yield from _walk(pattern.url_patterns, inner)
        else:
            yield f"{space}{pattern.name}", pattern


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What stands in the addresses: things that exist, so that a refusal is one of the role."""
    monkeypatch.setattr("relays.views.hosts.examine", lambda host: list[doctor.Check]())
    with registered():
        instance = instance_make(host_make("rustin"), "msn-a")
        yield {"host": "rustin", "instance": instance.pk, "operation": planned(instance).pk}


def planned(instance: Instance) -> Operation:
    return Operation.objects.create(
        kind="queue.run", instance=instance, plan_hash="0" * 64, planned_at="2026-01-01T00:00:00Z"
    )


# What a route is about, where its name does not begin with it.
_ABOUT = {
    "relays:operation-plan": "instance",
    "relays:flush-new": "instance",
    "relays:flush-steer": "flush",
    "relays:message": "instance",
    "relays:message-headers": "instance",
    "relays:message-body": "instance",
}


def address(name: str, arguments: dict[str, object]) -> str:
    """Return the address of a route; what no row is made for is a thing that does not exist."""
    values: dict[str, object] = {
        "pk": 987654,
        "slug": "no-such",
        "table": "no-such",
        "kind": "queue.run",
        "queue_id": "no-such",
        "ip": "192.0.2.99",
    }
    kind = _ABOUT.get(name) or name.removeprefix("relays:").split("-")[0]
    values |= {"pk": arguments.get(kind, values["pk"]), "name": arguments["host"]}
    wanted = routes()[name].pattern.converters
    return reverse(name, kwargs={key: values[key] for key in wanted})


def test_the_table_names_every_route() -> None:
    assert set(routes()) == set(ROUTES)


@pytest.mark.parametrize("role", ["anonymous", "nobody", *ROLES])
@pytest.mark.parametrize("name", ROUTES)
def test_a_route_is_for_its_roles(name: str, role: str, arguments: dict[str, object]) -> None:
    method, audience = ROUTES[name]
    browser = Client() if role == "anonymous" else browser_of("otto", *({role} & set(ROLES)))
    answer = browser.generic(method, address(name, arguments))
    if role in REACHES[audience]:
        assert answer.status_code != 403
        assert answer.status_code < 500
        assert not answer.headers.get("Location", "").startswith("/login/?")
        return
    assert answer.status_code == REFUSED[role]
    if role == "anonymous":
        assert answer.headers["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("name", [name for name, (method, _) in ROUTES.items() if method == "POST"])
def test_a_refused_post_changes_nothing(name: str, arguments: dict[str, object]) -> None:
    before = (Instance.objects.count(), Operation.objects.count(), MailClient.objects.count())
    browser_of("vera", "viewer").post(address(name, arguments))
    assert (Instance.objects.count(), Operation.objects.count(), MailClient.objects.count()) == before


def test_every_permission_that_is_asked_for_is_an_administrators() -> None:
    """A permission that no role has would make a page that nobody reaches."""
    asked = {"poll_host", "examine_host", "export_audit", "run_queue", "reload_instance", "flush"}
    held = set(Group.objects.get(name="administrator").permissions.values_list("codename", flat=True))
    assert asked <= held
    own = Permission.objects.filter(content_type__app_label__in=["relays", "dns", "fleet"])
    actions = {p.codename for p in own if p.codename.split("_")[0] not in ("add", "change", "delete", "view")}
    assert actions <= held


def test_roles_hold_one_another() -> None:
    held = {
        name: set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
        for name in ROLES
    }
    assert held["viewer"] < held["operator"] < held["administrator"]
    assert all(codename.startswith("view_") for codename in held["viewer"])


def test_a_viewer_sees_no_doctor_and_no_trail(arguments: dict[str, object]) -> None:
    page = browser_of("vera", "viewer").get("/hosts/rustin/").content.decode()
    assert "Examine now" not in page
    assert "Audit</a>" not in page
    assert AuditEvent.objects.count() == 0


# What cannot be taken back, or gives rights away: the password is asked for again.
ASKS_AGAIN = {
    "second-factor",
    "second-factor-begin",
    "second-factor-off",
    "recovery-codes",
    "token-add",
    "relays:host-key",
    "relays:host-change",
    "relays:host-remove",
    "relays:host-bodies",
    "relays:message-body",
    "relays:origin-remove",
    "relays:reason-rule-remove",
    "relays:operation-confirm",
    "dns:zone-add",
    "dns:zone-change",
    "dns:zone-remove",
    "dns:ramp-new",
    "dns:ramp-steer",
    "dns:ramp-edit",
}
# Ends what its owner can make again at any time.
_HARMLESS = {"token-remove"}


@pytest.mark.parametrize("name", sorted(set(ROUTES) - {"login", "login-code", "logout"}))
def test_what_cannot_be_taken_back_asks_for_the_password_again(
    name: str, arguments: dict[str, object]
) -> None:
    browser = browser_of("anna", "administrator")
    session = browser.session
    session["authenticated_at"] = 0
    session.save()
    answer = browser.generic(ROUTES[name][0], address(name, arguments))
    asks = answer.headers.get("Location", "").startswith("/reauthenticate/")
    assert asks == (name in ASKS_AGAIN)


def test_whatever_removes_asks_for_the_password_again() -> None:
    assert {name for name in ROUTES if name.endswith("-remove")} - _HARMLESS <= ASKS_AGAIN
