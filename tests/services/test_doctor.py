"""Doctor: each precondition that does not hold is named, with what to do, whatever else is broken."""

import getpass
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from relays.agent.build import build
from relays.domain.flush import RedirectFacts
from relays.models import Host
from relays.remote import flush, write
from relays.remote.flush import Status
from relays.services import collect, doctor
from relays.services.providers import load_shipped
from tests.far_side import Sshd, host_row, inventory_row, snapshot_row, unread_row

OURS = hashlib.sha256(build()).hexdigest()


def examine(host: Host) -> dict[str, doctor.Check]:
    return {check.code: check for check in doctor.examine(host)}


def answers(sshd: Sshd, *rows: dict[str, Any], spool: dict[str, Any] | None = None, **header: Any) -> None:
    host = host_row(spools=[spool]) if spool else host_row()
    queues = {"incoming": 0, "active": 3, "deferred": 412, "hold": 0, "corrupt": 0}
    snapshot = [
        snapshot_row(row["name"], config_dir=row["config_dir"], queues=queues, conditions=[]) for row in rows
    ]
    sshd.answers({"inventory": rows, "snapshot": [*snapshot, host]}, **({"sha256": OURS} | header))


def test_a_host_in_good_order_has_nothing_to_do(sshd: Sshd, host: Host) -> None:
    load_shipped()
    answers(sshd, inventory_row("msn-a"), inventory_row("aol-a"))
    collect.poll_host(host_id=host.pk)
    host.refresh_from_db()
    checks = doctor.examine(host)
    # What opens the write door, and what onboards for flushes, is root's to decide.
    open_to_decide = [check.code for check in checks if check.ok is not True or check.remedy]
    assert open_to_decide == ["write_door", "flush"]


def redirect_row(name: str, *problems: str) -> RedirectFacts:
    return RedirectFacts(
        name, not problems, problems, fast_flush=True, to="", domains=(), op_id="", left_s=None, problem=""
    )


READY = redirect_row("msn-a")


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (Status((READY,), 5.0), (True, "the guard looked 5 s ago")),
        (Status((READY,), 90.0), (False, "No guard looks")),
        (Status((READY,), None), (False, "No guard looks")),
        (Status((READY, redirect_row("aol-a", "no drain")), 5.0), (False, "aol-a: no drain")),
        (Status((redirect_row("msn-a", "no drain"),), 5.0), (None, "No instance is onboarded")),
    ],
)
def test_what_a_flush_needs_is_told(
    sshd: Sshd, host: Host, monkeypatch: pytest.MonkeyPatch, status: Status, wanted: tuple[bool | None, str]
) -> None:
    answers(sshd, inventory_row("msn-a"))
    # The far side's end lines are fixed, and the guard's age stands in one.
    monkeypatch.setattr(flush, "status", lambda *_: status)
    check = examine(host)["flush"]
    assert (check.ok, wanted[1] in check.detail) == (wanted[0], True)


@pytest.mark.parametrize(
    ("code", "rows", "named"),
    [
        ("running", [inventory_row("msn-a", running=False)], "msn-a"),
        ("long_queue_ids", [inventory_row("msn-a", long_queue_ids=False)], "msn-a"),
        ("logs", [inventory_row("msn-a", log=None)], "msn-a"),
        (
            "bind_unique",
            [inventory_row(n, bind_addresses=["198.51.100.5"]) for n in ("msn-a", "aol-a")],
            "198.51.100.5: msn-a, aol-a",
        ),
        (
            "helo_distinct",
            [inventory_row(n, helo_name="mail.example") for n in ("msn-a", "aol-a")],
            "mail.example: msn-a, aol-a",
        ),
        ("instances", [], "none"),
    ],
)
def test_what_is_wrong_with_an_instance_is_named(
    sshd: Sshd, host: Host, code: str, rows: list[dict[str, Any]], named: str
) -> None:
    answers(sshd, *rows)
    check = examine(host)[code]
    assert (check.ok, named in check.detail, bool(check.remedy)) == (False, True, True)


def test_an_instance_that_postqueue_may_not_name(sshd: Sshd, host: Host) -> None:
    sshd.answers(
        {
            "inventory": [inventory_row("msn-a")],
            "snapshot": [unread_row("msn-a", "not_listed", "instance"), host_row()],
        }
    )
    check = examine(host)["listed"]
    assert check.ok is False
    assert "multi_instance_directories" in check.remedy
    assert "/etc/postfix-msn-a" in check.detail


def test_an_unreadable_queue(sshd: Sshd, host: Host) -> None:
    sshd.answers(
        {
            "inventory": [inventory_row("msn-a")],
            "snapshot": [unread_row("msn-a", "not_readable"), host_row()],
        }
    )
    check = examine(host)["readable"]
    assert (check.ok, "msn-a: not_readable" in check.detail) == (False, True)


def test_corrupt_messages_that_nobody_counts(sshd: Sshd, host: Host) -> None:
    unread = [{"code": "not_readable", "what": "corrupt", "detail": "no guard publishes a count"}]
    snapshot = [snapshot_row("msn-a", conditions=unread), host_row()]
    sshd.answers({"inventory": [inventory_row("msn-a")], "snapshot": snapshot})
    check = examine(host)["guard"]
    assert (check.ok, check.detail) == (False, "msn-a: no guard publishes a count")
    assert "guard --every 60" in check.remedy


def test_of_a_queue_that_was_not_read_nothing_is_said_of_corrupt_messages(sshd: Sshd, host: Host) -> None:
    snapshot = [unread_row("msn-a", "stopped"), host_row()]
    sshd.answers({"inventory": [inventory_row("msn-a")], "snapshot": snapshot})
    assert examine(host)["guard"].ok is None


def test_another_build_of_relayctl(sshd: Sshd, host: Host) -> None:
    answers(sshd, inventory_row("msn-a"), sha256="0" * 64)
    check = examine(host)["relayctl_build"]
    assert check.ok is False
    assert OURS in check.detail


def test_a_clock_an_hour_off(sshd: Sshd, host: Host) -> None:
    answers(sshd, inventory_row("msn-a"), clock_ahead_s=3600)
    sshd.answers({"inventory": [], "snapshot": [host_row()]}, clock_ahead_s=3600)
    check = examine(host)["clock"]
    assert check.ok is False
    assert "3,6" in check.detail or "3,5" in check.detail
    assert "ahead" in check.detail


@pytest.mark.parametrize("what", ["free_bytes", "inodes_free"])
def test_a_spool_that_fills_up(sshd: Sshd, host: Host, what: str) -> None:
    spool = {"path": "/var/spool", "size_bytes": 1000, "free_bytes": 900, "inodes": 1000, "inodes_free": 900}
    answers(sshd, inventory_row("msn-a"), spool=spool | {what: 40})
    check = examine(host)["disk"]
    assert (check.ok, "4.0 %" in check.detail) == (False, True)


def test_a_dead_host_leaves_the_rest_unknown(sshd: Sshd, host: Host) -> None:
    sshd.stop()
    checks = examine(host)
    assert checks["reachable"].ok is False
    unknown = ("key_pinned", "log_in", "relayctl", "relayctl_build", "clock", "disk", "instances")
    assert {checks[code].ok for code in unknown} == {None}
    assert checks["fresh"].ok is False


def test_a_changed_key_shows_both_fingerprints(sshd: Sshd, host: Host) -> None:
    sshd.change_host_key()
    check = examine(host)["key_pinned"]
    assert check.ok is False
    assert check.detail.count("SHA256:") == 2
    assert "accept-key rustin" in check.remedy


def test_a_host_that_was_never_accepted(host: Host) -> None:
    host.host_key = ""
    checks = examine(host)
    assert (checks["reachable"].ok, checks["key_pinned"].ok, checks["log_in"].ok) == (None, False, None)


def test_a_key_that_is_not_let_in(sshd: Sshd, host: Host) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    checks = examine(host)
    assert (checks["key_pinned"].ok, checks["log_in"].ok, checks["relayctl"].ok) == (True, False, None)
    assert "install --read-key" in checks["log_in"].remedy


def test_a_host_without_relayctl_gets_the_commands_that_install_it(sshd: Sshd, host: Host) -> None:
    sshd.says("#!/bin/sh\necho 'sh: relayctl: not found' >&2\nexit 127\n")
    check = examine(host)["relayctl"]
    assert check.ok is False
    assert "not found" in check.detail
    assert OURS in check.remedy


def test_old_figures_are_not_fresh(sshd: Sshd, host: Host) -> None:
    answers(sshd, inventory_row("msn-a"))
    host.last_success_at = timezone.now() - timedelta(minutes=10)
    check = examine(host)["fresh"]
    assert check.ok is False
    assert check.detail.startswith("6")


def test_it_changes_nothing(sshd: Sshd, host: Host) -> None:
    before = Host.objects.values().get()
    examine(host)
    assert Host.objects.values().get() == before


@pytest.fixture
def write_door(sshd: Sshd, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """Let the console in as the write user, too, whom this far side does not tell from the other."""
    settings.WRITE_KEY_PATH = sshd.key_path
    monkeypatch.setattr(write, "USER", getpass.getuser())
    return sshd


def test_a_host_that_only_lets_the_console_look_is_told_how_to_let_it_change_something(
    sshd: Sshd, host: Host
) -> None:
    check = examine(host)["write_door"]
    assert (check.ok, "--write-key 'ssh-ed25519 " in check.remedy) == (None, True)


@pytest.mark.parametrize(
    ("problems", "ok", "detail"),
    [
        ((None, None), True, "as root by sudo"),
        (("disk full", None), False, "disk full"),
        ((None, "main.cf must be root's"), False, "msn-a: main.cf must be root's"),
    ],
)
def test_what_keeps_the_console_from_changing_a_host_is_named(
    write_door: Sshd, host: Host, problems: tuple[str | None, str | None], ok: bool, detail: str
) -> None:
    rows = [
        {"kind": "host", "limits": {}, "journal_bytes": 0, "problem": problems[0]},
        {"kind": "instance", "name": "msn-a", "fence": 0, "problem": problems[1]},
    ]
    write_door.answers(
        {
            "inventory": [inventory_row("msn-a")],
            "snapshot": [snapshot_row("msn-a"), host_row()],
            "write.check": rows,
        }
    )
    check = examine(host)["write_door"]
    assert (check.ok, detail in check.detail, bool(check.remedy)) == (ok, True, not ok)


def test_a_write_door_that_answers_what_is_no_relayctl(write_door: Sshd, host: Host) -> None:
    write_door.answers(
        {"inventory": [inventory_row("msn-a")], "snapshot": [snapshot_row("msn-a"), host_row()]}
    )
    write_door.says(
        write_door.script.read_text().replace("case $verb in", "case $verb in write.check) exit 1;;", 1)
    )
    check = examine(host)["write_door"]
    assert (check.ok, bool(check.remedy)) == (False, True)
