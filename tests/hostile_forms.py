"""Random forms to every page, seeded: tests send some, `./run bench attacks` many."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from django.test import Client
from django.urls import Resolver404, resolve

from dns.models import Zone
from relays.services.origins import origin_add
from tests.factories import deletion_make, host_make, instance_make, operation_make
from tests.people import browser_of
from tests.ramps import ramp_row, relay_name_row
from tests.web.test_roles import ROUTES, address

HOSTILE = [
    "msn-a;id",
    "../etc/passwd",
    "msn-a\n",
    "ALL",
    "-d",
    "A" * 10_000,
    "m\u0455n-a",
    "\uff11\uff12",
    "msn-a\0",
    "hotmail.com\n* drain:[9.9.9.9]",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "\u202emoc.live",
    "\x1b[31m",
    "' OR 1=1 --",
]
_VALUES = [*HOSTILE, "1", "-1", "read", "9" * 30]
_FIELDS = [
    "name",
    "slug",
    "reason",
    "code",
    "days",
    "scope",
    "session",
    "provider",
    "domain",
    "domains",
    "position",
    "ssh_port",
    "pattern",
    "plan_hash",
    "next",
    "format",
    "addresses",
    "enabled",
    "relay_name",
    "address",
    "schedule",
    "table",
    "start_date",
    "act",
]
# They would end the visit, speak to the network, or take away what the others are about.
_LEFT_OUT = {
    "logout",
    "session-end",
    "relays:host-remove",
    "relays:host-doctor",
    "relays:host-add",
    "relays:host-key",
}


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page: where it is sent, what stands in it as the page is shown, and its named buttons."""

    action: str
    fields: Mapping[str, Sequence[str]]
    buttons: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class World:
    """An administrator's browser, what stands in the addresses of pages, and the forms that those show."""

    browser: Client
    place: Mapping[str, object]
    forms: Sequence[Form]


def make_world() -> World:
    """Return one of everything that a form may be about, and the forms. Nothing of it is on the network."""
    instance = instance_make(host_make("rustin"), "msn-a")
    planned = operation_make(instance, state="planned")
    deletion_make(instance)
    name = relay_name_row()
    # Nobody listens there, which is told at once.
    Zone.objects.update(servers=["127.0.0.1:1"], primary="127.0.0.1:1")
    place = {
        "host": instance.host.name,
        "instance": instance.pk,
        "operation": planned.pk,
        "origin": origin_add(name="lists.example.org", addresses=["198.51.100.1"]).pk,
        "dns:relay": name.pk,
        "dns:ramp": ramp_row(name).pk,
    }
    browser = browser_of("anna", "administrator")
    browser.raise_request_exception = False
    starts = [address(name, place) for name in ROUTES]
    forms = {(form.action, *sorted(form.fields)): form for form in _forms_of_all(browser, starts)}
    return World(browser, place, [forms[key] for key in sorted(forms)])


def send(world: World, dice: random.Random) -> str:
    """Send one form somewhere; return what broke, "" where nothing did.

    In half of all cases one that a page shows, as it stands there but for a field or two.
    """
    if dice.random() < 0.5:
        return _send_nearly_right(world, dice)
    name = dice.choice([name for name in ROUTES if name not in _LEFT_OUT])
    form = {field: dice.choice(_VALUES) for field in dice.sample(_FIELDS, 6)}
    path = address(name, dict(world.place))
    answer = world.browser.post(path, form) if dice.random() < 0.7 else world.browser.get(path, form)
    return f"{name}: {answer.status_code} for {form}" if answer.status_code >= 500 else ""


def _send_nearly_right(world: World, dice: random.Random) -> str:
    form = dice.choice(world.forms)
    fields = {name: list(values) for name, values in form.fields.items()}
    if form.buttons:
        name, value = dice.choice(form.buttons)
        fields[name] = [value]
    for name in dice.sample(sorted(fields), min(len(fields), dice.randrange(3))):
        turned = [dice.choice(_VALUES), *fields[name][:1]]
        fields[name] = dice.choice([turned[:1], turned, [], ["".join(reversed(turned))]])
    answer = world.browser.post(form.action, fields)
    return f"{form.action}: {answer.status_code} for {fields}" if answer.status_code >= 500 else ""


class _Reader(HTMLParser):
    """Reads the links of a page, and its forms that are sent by POST."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._path = path
        self._fields: dict[str, list[str]] | None = None
        self._buttons: list[tuple[str, str]] = []
        self._select = self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a form, or a field of the form that is open."""
        given = {key: value or "" for key, value in attrs}
        if tag == "a" and given.get("href", "").startswith("/"):
            self.links.append(given["href"])
        elif tag == "form" and given.get("method", "").lower() == "post":
            self._fields, self._buttons = {}, []
            action = urljoin(self._path, given.get("action", ""))
            self.forms.append(Form(action, self._fields, self._buttons))
        elif self._fields is None:
            return
        elif tag == "option":
            # The first one stands until another is selected.
            if self._select and ("selected" in given or not self._fields[self._select]):
                self._fields[self._select] = [given.get("value", "")]
        elif tag == "button" and "name" in given:
            self._buttons.append((given["name"], given.get("value", "")))
        elif name := given.get("name"):
            self._select, self._text = (name if tag == kind else "" for kind in ("select", "textarea"))
            is_set = tag == "input" and (given.get("type") not in ("checkbox", "radio") or "checked" in given)
            self._fields.setdefault(name, []).extend([given.get("value", "on")] if is_set else [])

    def handle_data(self, data: str) -> None:
        """Take what stands in a large field."""
        if self._fields is not None and self._text:
            self._fields[self._text] = [data]
            self._text = ""

    def handle_endtag(self, tag: str) -> None:
        """Leave a form."""
        if tag == "form":
            self._fields = None


def _forms_of_all(browser: Client, paths: list[str]) -> Iterator[Form]:
    """Look at a page of each route, following links, and give the forms."""
    seen = set(_LEFT_OUT)
    while paths:
        path = paths.pop(0)
        if (route := _route(path)) in seen:
            continue
        answer = browser.get(path)
        if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
            seen.add(route)
            reader = _Reader(path)
            reader.feed(answer.content.decode())
            paths += reader.links
            yield from (form for form in reader.forms if _route(form.action) not in _LEFT_OUT)


def _route(action: str) -> str:
    try:
        return resolve(urlsplit(action).path).view_name
    except Resolver404:
        return ""
