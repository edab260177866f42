"""What log.read tells of each log: counts of its own instances, in rows that fit, and cursors that go on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from relays.agent import log_read, postfix, protocol
from relays.agent.deadline import Deadline
from relays.agent.log_read import Host, Source
from relays.agent.protocol import BadRequest
from relays.domain.log_reading import SourceReading, parse_sources

STAMP = time.strftime("%Y-%m-%dT%H:%M:00+00:00", time.gmtime(time.time() - 600))


def sent(instance: str = "msn-a", domain: str = "hotmail.com", *, queue_id: str = "4jWKWh04b5z1T1") -> str:
    return (
        f"{STAMP} rustin postfix-{instance}/smtp[719]: {queue_id}: to=<u@{domain}>, "
        f"relay=mx.{domain}[203.0.113.10]:25, delay=0.9, delays=0.1/0.2/0.3/0.3, dsn=2.0.0, "
        "status=sent (250 2.0.0 Ok)\n"
    )


def deferred(domain: str, reply: str) -> str:
    return (
        f"{STAMP} rustin postfix-msn-a/smtp[719]: 4jWKWh04b5z1T1: to=<u@{domain}>, "
        f"relay=mx.{domain}[203.0.113.10]:25, delay=0.9, delays=0.1/0.2/0.3/0.3, dsn=4.7.0, "
        f"status=deferred (host mx.{domain}[203.0.113.10] said: 421 4.7.0 {reply} (in reply to RCPT TO))\n"
    )


class Relay:
    """A host whose logs are files of the test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.host = Host([], {}, set())
        self.cursors: dict[str, Any] = {}
        monkeypatch.setattr(log_read, "host", lambda: self.host)

    def source(self, *instances: str, name: str = "mail.log", lossy: bool = False) -> Path:
        path = self.folder / name
        names = {f"postfix-{instance}": instance for instance in instances}
        self.host.names.update(names)
        self.host.sources.append(Source(str(path), names, [], lossy))
        return path

    def ask(self, **args: Any) -> dict[str, SourceReading]:
        """Ask, check that all of it fits into a reply, and take the cursors for the next time."""
        lines = list(log_read.answer({"cursors": self.cursors, **args}, Deadline(60)).rows)
        assert all(isinstance(line, bytes) and len(line) <= protocol.MAX_LINE for line in lines)
        assert sum(map(len, lines)) <= protocol.MAX_REPLY - protocol.END_ROOM
        readings = parse_sources(map(json.loads, lines))  # type: ignore[arg-type]
        self.cursors.update((r.source, json.loads(r.cursor)) for r in readings if r.cursor)
        return {Path(reading.source).name: reading for reading in readings}


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    return Relay(tmp_path, monkeypatch)


def total(reading: SourceReading) -> dict[tuple[str, str, str], int]:
    sums: dict[tuple[str, str, str], int] = {}
    for row in reading.outcomes:
        key = row.instance, row.domain, row.outcome
        sums[key] = sums.get(key, 0) + row.n
    return sums


def test_a_log_s_counts_come_once_with_its_cursor(relay: Relay) -> None:
    path = relay.source("msn-a", "msn-b")
    path.write_text(sent() + sent() + sent("msn-b") + deferred("hotmail.com", "busy") + "nonsense\n")
    reading = relay.ask()["mail.log"]
    assert total(reading) == {
        ("msn-a", "hotmail.com", "sent"): 2,
        ("msn-a", "hotmail.com", "deferred"): 1,
        ("msn-b", "hotmail.com", "sent"): 1,
    }
    assert (reading.lines, reading.unrecognized, reading.behind_bytes) == (5, 1, 0)
    assert sum(map(sum, (row.bins for row in reading.delays))) == 3
    assert dict(reading.mx) == {"hotmail.com": "mx.hotmail.com"}
    assert [reply.code for reply in reading.replies] == [421]
    again = relay.ask()["mail.log"]
    assert (again.lines, again.outcomes, again.cursor) == (0, (), reading.cursor)


def test_delivery_to_the_fleet_is_handing_over(relay: Relay) -> None:
    relay.source("msn-a").write_text(sent())
    reading = relay.ask(fleet=["203.0.113.10"])["mail.log"]
    assert total(reading) == {("msn-a", "hotmail.com", "handed_over"): 1}


def test_an_instance_with_a_log_of_its_own_is_counted_there_alone(relay: Relay) -> None:
    relay.source("msn-a", name="msn-a.log").write_text(sent())
    relay.source("msn-b").write_text(sent() + sent("msn-b"))
    readings = relay.ask()
    assert total(readings["msn-a.log"]) == {("msn-a", "hotmail.com", "sent"): 1}
    assert total(readings["mail.log"]) == {("msn-b", "hotmail.com", "sent"): 1}
    assert [(c.code, c.detail[:5]) for c in readings["mail.log"].conditions] == [("elsewhere", "msn-a")]


def test_a_log_that_postlogd_writes_is_called_lossy_and_is_all_its_instance_s(relay: Relay) -> None:
    relay.source("msn-a", lossy=True).write_text(sent() + sent("relay"))
    reading = relay.ask()["mail.log"]
    assert total(reading) == {("msn-a", "hotmail.com", "sent"): 2}
    assert [c.code for c in reading.conditions] == ["lossy"]


def test_many_rotated_files_that_cannot_be_read_leave_room_for_the_rest(relay: Relay) -> None:
    path = relay.source("msn-a")
    path.write_text(sent())
    relay.ask()
    path.rename(path.with_name("mail.log.100"))
    for number in range(1, 100):
        path.with_name(f"mail.log.{number}.gz").write_bytes(b"no gzip")
    path.write_text(sent() + sent())
    reading = relay.ask()["mail.log"]
    assert [c.code for c in reading.conditions] == ["not_decompressed"] * 20
    assert total(reading) == {("msn-a", "hotmail.com", "sent"): 2}


def test_a_name_that_is_no_instance_s_is_told_as_it_stands(relay: Relay) -> None:
    relay.source("msn-a").write_text(sent("gone") + sent("_odd"))
    assert {row.instance for row in relay.ask()["mail.log"].outcomes} == {"gone", "odd"}


def test_a_time_that_cannot_be_is_not_counted_but_told(relay: Relay) -> None:
    relay.source("msn-a").write_text(sent().replace(STAMP, "1912-04-15T02:20:00+00:00") + sent())
    reading = relay.ask()["mail.log"]
    assert (sum(row.n for row in reading.outcomes), reading.unrecognized) == (1, 1)


def test_rows_are_split_into_lines_that_a_reply_may_have(relay: Relay) -> None:
    relay.source("msn-a").write_text("".join(sent(domain=f"{'d' * 200}{n}.example") for n in range(450)))
    reading = relay.ask()["mail.log"]
    assert len(total(reading)) == 450
    assert sum(total(reading).values()) == 450


def test_less_is_read_where_a_reply_would_be_too_long(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_read, "MAX_REPLY", 200_000)
    lines = [deferred(f"d{n}.example", "busy " + "abcdefghij"[n % 10] * (n % 300)) for n in range(3_000)]
    relay.source("msn-a").write_text("".join(lines))
    told, rounds = 0, 0
    while True:
        reading = relay.ask()["mail.log"]
        told += sum(row.n for row in reading.outcomes)
        rounds += 1
        if not reading.behind_bytes:
            break
    assert told == 3_000
    assert rounds > 3


def test_a_log_without_room_waits_for_the_next_reply(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_read, "MAX_REPLY", 10_000)
    relay.source("msn-a").write_text(deferred("hotmail.com", "x" * 5_000))
    assert relay.ask() == {}


def test_each_log_gets_on_whatever_the_others_have(relay: Relay) -> None:
    relay.source("msn-a", name="long.log").write_text(sent() * 20_000)
    relay.source("msn-b", name="short.log").write_text(sent("msn-b"))
    readings = relay.ask(max_bytes=1 << 20)
    assert list(readings) == ["short.log", "long.log"]
    assert readings["short.log"].behind_bytes == 0
    long = readings["long.log"]
    assert long.bytes <= 1 << 20
    assert long.behind_bytes == (relay.folder / "long.log").stat().st_size - long.bytes


def test_a_log_that_is_missing_is_told_beside_the_others(relay: Relay) -> None:
    relay.source("msn-a", name="gone.log")
    relay.source("msn-b").write_text(sent("msn-b"))
    readings = relay.ask()
    assert [c.code for c in readings["gone.log"].conditions] == ["missing"]
    assert (readings["gone.log"].cursor, readings["gone.log"].behind_bytes) == ("", None)
    assert total(readings["mail.log"])


@pytest.mark.parametrize(
    "args",
    [
        {"path": "/etc/shadow"},
        {"cursors": []},
        {"cursors": {"/var/log/mail.log": {"v": 1}}},
        {"cursors": {"journal": {"v": 1, "journal": "a\nb"}}},
        {"cursors": {"journal": {"v": 2, "journal": "s=1"}}},
        {"cursors": {"journal": "s=1"}},
        {"cursors": {str(n): None for n in range(1_001)}},
        {"fleet": "198.51.100.11"},
        {"fleet": [7]},
        {"fleet": ["1" * 46]},
        {"fleet": ["::1"] * 5_001},
        {"max_bytes": 1},
        {"seconds": 0},
        {"seconds": 1.5},
    ],
)
def test_arguments_that_make_no_sense_are_refused(relay: Relay, args: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        log_read.answer(args, Deadline(60))


def test_a_request_s_source_that_the_inventory_does_not_name_is_not_read(relay: Relay) -> None:
    secret = relay.folder / "secret"
    secret.write_text(sent())
    relay.source("msn-a").write_text("")
    place = {"dev": 1, "ino": 1, "at": 0, "head": "0" * 16, "tail": "0" * 16, "over": False}
    relay.cursors[str(secret)] = {"v": 1, "read": 0.0, "places": [place]}
    assert list(relay.ask()) == ["mail.log"]


class Settings:
    """What postconf would say of each instance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **instances: dict[str, str] | None) -> None:
        self._instances = instances
        monkeypatch.setattr(postfix, "places", lambda: [postfix.Place(name, name) for name in instances])
        monkeypatch.setattr(postfix, "parameters", self._parameters)

    def _parameters(self, config_dir: str, _names: list[str]) -> dict[str, str]:
        settings = self._instances[config_dir]
        if settings is None:
            raise postfix.Misconfigured("broken")
        return {"syslog_name": "postfix", "maillog_file": "", "content_filter": "", **settings}


def test_the_host_s_logs_are_those_that_its_instances_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(
        monkeypatch,
        a={"maillog_file": "/var/log/shared.log", "content_filter": "scan:[192.0.2.9]:10025"},
        b={"maillog_file": "/var/log/shared.log"},
        c={"maillog_file": "/var/log/c.log", "syslog_name": "postfix-c"},
        odd={"maillog_file": "/var/log/\n.log"},
        broken=None,
    )
    host = log_read.host()
    assert {(s.name, tuple(s.instances.items()), s.is_lossy) for s in host.sources} == {
        ("/var/log/shared.log", (("postfix", "a"),), True),
        ("/var/log/c.log", (("postfix-c", "c"),), True),
    }
    assert host.names == {"postfix": "a", "postfix-c": "c"}
    assert host.filters == {"scan", "192.0.2.9:10025"}
    (shared,) = [s for s in host.sources if s.name == "/var/log/shared.log"]
    assert [c["code"] for c in shared.conditions] == ["ambiguous"]
