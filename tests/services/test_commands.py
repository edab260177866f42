"""`manage.py collect` and `manage.py relay …`, on a real far side."""

import io
import json
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command

from relays.models import Host, Instance
from relays.remote import keys
from relays.services.providers import load_shipped
from tests.far_side import Sshd, free_port, inventory_row, log_row, snapshot_row

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> tuple[int, str]:
    """Return the exit status and what was printed."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def add_dead() -> Host:
    return Host.objects.create(
        name="dead", ssh_address="127.0.0.1", ssh_port=free_port(), host_key=Host.objects.get().host_key
    )


def test_collect_polls_every_host_and_tells_of_each(host: Host) -> None:
    add_dead()
    status, out = run("collect")
    assert status == 1
    lines = out.splitlines()
    assert lines[0].startswith("dead: unreachable: 127.0.0.1 port ")
    assert lines[1].startswith("rustin: complete, 2 instances in ")


def test_collect_polls_only_the_hosts_that_are_named(host: Host) -> None:
    add_dead()
    status, out = run("collect", "rustin", "--json")
    assert status == 0
    polls: list[dict[str, Any]] = json.loads(out)["polls"]
    assert [(p["host"], p["outcome"], p["instances"]) for p in polls] == [("rustin", "complete", 2)]


def test_collect_says_what_the_logs_brought(sshd: Sshd, host: Host) -> None:
    logs = ("/var/log/postfix-msn-a.log", "/var/log/postfix-aol-a.log")
    rows = {
        "inventory": [inventory_row("msn-a"), inventory_row("aol-a")],
        "snapshot": [snapshot_row("msn-a")],
    }
    sshd.answers(rows | {"log.read": [log_row(source, 1) for source in logs]})
    assert run("collect")[1].endswith("; 200 lines of 2 logs\n")
    again = json.loads(run("collect", "--json")[1])["polls"][0]["logs"]
    stuck = {"lines": 0, "unrecognized": 0, "behind_bytes": 0, "condition": "cursor_stuck"}
    assert [log | {"source": ""} for log in again] == [stuck | {"source": ""}] * 2
    assert f"; {logs[0]}: cursor stuck" in run("collect")[1]


def test_collect_refuses_a_name_that_nobody_has(host: Host) -> None:
    with pytest.raises(CommandError, match="No such host: rusitn"):
        call_command("collect", "rusitn")


def test_add_shows_the_fingerprint_and_asks(sshd: Sshd) -> None:
    load_shipped()
    address = ["relay", "add", "127.0.0.1", "--port", str(sshd.port), "--name", "rustin"]
    user = ["--user", sshd.target().user]
    with mock.patch("builtins.input", return_value="no"), pytest.raises(CommandError, match="Not confirmed"):
        run(*address, *user)
    assert not Host.objects.exists()
    with mock.patch("builtins.input", return_value="yes"):
        status, out = run(*address, *user)
    assert keys.fingerprint(sshd.host_key()) in out
    assert "  msn-a: msn" in out.splitlines()
    assert (status, Host.objects.get().host_key) == (0, sshd.host_key())


def test_add_without_a_terminal_pins_only_what_was_given(sshd: Sshd) -> None:
    words = ["relay", "add", "127.0.0.1", "--port", str(sshd.port), "--user", sshd.target().user]
    with pytest.raises(CommandError, match="not the fingerprint given"):
        run(*words, "--fingerprint", "SHA256:another")
    with mock.patch("builtins.input", side_effect=EOFError), pytest.raises(CommandError):
        run(*words)
    assert not Host.objects.exists()
    run(*words, "--fingerprint", keys.fingerprint(sshd.host_key()))
    assert Host.objects.get().name == "127-0-0-1"


def test_add_tells_how_to_install_relayctl_where_there_is_none(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\necho 'relayctl: not found' >&2; exit 127\n")
    _, out = run(
        *["relay", "add", "127.0.0.1", "--port", str(sshd.port), "--user", sshd.target().user, "--yes"]
    )
    assert "its first poll says: No relayctl answered" in out
    assert "install --read-key" in out and "sha256sum -c" in out


def test_add_to_a_closed_port_adds_nothing(db: None) -> None:
    with pytest.raises(CommandError, match="refused"):
        run("relay", "add", "127.0.0.1", "--port", str(free_port()), "--yes")
    assert not Host.objects.exists()


def test_a_changed_key_is_accepted_after_both_are_shown(sshd: Sshd, host: Host) -> None:
    old = keys.fingerprint(host.host_key)
    sshd.change_host_key()
    _, out = run("relay", "accept-key", "rustin", "--yes")
    assert old in out and keys.fingerprint(sshd.host_key()) in out
    assert Host.objects.get().host_key == sshd.host_key()
    assert "the key that is pinned" in run("relay", "accept-key", "rustin")[1]


def test_list_tells_of_hosts_and_instances(host: Host) -> None:
    run("collect")
    listed = json.loads(run("relay", "list", "--json")[1])["hosts"]
    assert [(h["name"], h["state"]) for h in listed] == [("rustin", "fresh")]
    assert {i["name"] for i in listed[0]["instances"]} == {"msn-a", "aol-a"}
    assert "rustin: fresh: " in run("relay", "list")[1]


def test_doctor_ends_with_status_1_where_something_does_not_hold(host: Host) -> None:
    status, out = run("relay", "doctor", "rustin")
    assert status == 1
    assert "  ok   SSH answers" in out
    assert "  FAIL relayctl is the console's build" in out
    report = json.loads(run("relay", "doctor", "--json")[1])["hosts"]["rustin"]
    assert {"code", "ok", "title", "detail", "remedy"} == set(report[0])


def test_an_instance_is_matched_by_hand_and_by_name_again(host: Host) -> None:
    load_shipped()
    run("collect")
    assert "aol-a on rustin: gmail" in run("relay", "match", "rustin", "aol-a", "gmail")[1]
    run("collect")
    assert Instance.objects.get(name="aol-a").provider_by_hand
    run("relay", "match", "rustin", "aol-a", "by-name")
    assert not Instance.objects.get(name="aol-a").provider_by_hand
    with pytest.raises(CommandError, match="No such provider: gmial"):
        run("relay", "match", "rustin", "aol-a", "gmial")


def test_a_host_is_removed_only_after_a_yes(host: Host) -> None:
    with mock.patch("builtins.input", return_value=""), pytest.raises(CommandError):
        run("relay", "remove", "rustin")
    assert Host.objects.exists()
    run("relay", "remove", "rustin", "--yes")
    assert not Host.objects.exists()


def test_the_public_key_is_shown_with_the_commands(sshd: Sshd) -> None:
    shown = json.loads(run("relay", "key", "relay.example", "--json")[1])
    assert shown["read_key"] == keys.read_public_key()
    assert shown["write_key"] == keys.write_public_key()
    assert "root@relay.example" in shown["install"][1]
