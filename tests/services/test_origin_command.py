"""`manage.py origin …`."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from relays.models import Client, Origin
from tests.factories import client_make, fleet_make, origins_make

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("origin", *words, stdout=out)
    return out.getvalue()


def document(*words: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(run(*words, "--json"))
    return read


def test_an_empty_list_says_how_to_begin() -> None:
    assert run("list") == "No origins yet: manage.py origin add NAME ADDRESS...\n"
    assert document("list") == {"origins": [], "unclaimed": []}


def test_the_list_has_origins_and_who_waits_but_not_the_fleet_itself() -> None:
    origins_make(fleet_make())
    listed = document("list")
    assert [(o["name"], o["accepted_hour"], o["accepted_day"]) for o in listed["origins"]] == [
        ("list1.example.org", 95, 950),
        ("list2.example.org", 0, 50),
    ]
    assert [(c["ip"], c["name"], c["accepted_day"]) for c in listed["unclaimed"]] == [
        ("192.0.2.77", "list3.example.org", 120)
    ]
    text = run("list")
    assert "list1.example.org: 95 in the last hour, 950 in 24 h\n  192.0.2.31 list1.example.org: 95" in text
    assert "198.51.100.12" not in text and "127.0.0.1" not in text


def test_a_name_from_a_relay_cannot_write_to_the_terminal() -> None:
    client_make("192.0.2.1", "\x1b[2Jlist1")
    assert "192.0.2.1 \\x1b[2Jlist1: 0 in the last hour" in run("list")


def test_add_change_and_remove() -> None:
    assert run("add", "list1", "192.0.2.1", "2001:DB8::1") == "list1 is added: 192.0.2.1, 2001:db8::1\n"
    assert [c["ip"] for c in document("change", "list1", "192.0.2.2", "--name", "lists")["clients"]] == [
        "192.0.2.2"
    ]
    with pytest.raises(CommandError, match="No such origin: list1"):
        run("remove", "list1")
    assert run("remove", "lists") == "lists is forgotten; its clients wait for adoption.\n"
    assert not Origin.objects.exists()


def test_adopt_makes_the_origin_where_there_is_none() -> None:
    for last in (1, 2):
        client_make(f"192.0.2.{last}")
    assert run("adopt", "list1", "192.0.2.1") == "list1 claims them: 192.0.2.1\n"
    assert run("adopt", "list1", "192.0.2.2") == "list1 claims them: 192.0.2.1, 192.0.2.2\n"
    assert Client.objects.filter(origin__name="list1").count() == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add", "list1", "nonsense"], "'nonsense' is not an IP address"),
        (["add", "taken", "192.0.2.1"], "already exists"),
        (["add", "list1", "192.0.2.9"], "192.0.2.9 belongs to the origin taken"),
        (["adopt", "list1", "192.0.2.7"], "No relay has accepted mail from 192.0.2.7"),
        (["adopt", "list1", "192.0.2.0/24"], "each address of a network"),
        (["change", "nobody", "192.0.2.1"], "No such origin: nobody"),
    ],
)
def test_what_cannot_be_is_the_commands_error(words: list[str], text: str) -> None:
    run("add", "taken", "192.0.2.9")
    with pytest.raises(CommandError, match=text):
        run(*words)
