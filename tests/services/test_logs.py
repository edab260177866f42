"""The logs of a poll, over a real sshd: what is read, stored and named."""

import hashlib
import json
import time
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.utils import timezone

from relays.domain.freshness import HostState, host_state
from relays.models import Host, InstanceState, LogSource, OutcomesDay
from relays.models.host import PollOutcome
from relays.services import collect, logs
from relays.services.providers import load_shipped
from tests.factories import host_make, instance_make
from tests.far_side import READ_REQUEST, Sshd, host_row, inventory_row, log_row, reply_script, snapshot_row

MSN, AOL = "/var/log/postfix-msn-a.log", "/var/log/postfix-aol-a.log"
THROTTLE = "host mx.hotmail.com[<ip>] said: 421 4.7.0 Too many connections from your IP"


def outcome_row(source: str, instance: str, *rows: list[Any]) -> dict[str, Any]:
    ts = int(time.time()) // 300 * 300
    return {"kind": "outcomes", "source": source, "instance": instance, "ts": ts, "rows": list(rows)}


def sent(n: int) -> list[Any]:
    return ["hotmail.com", "sent", "2.0.0", "", n, 1000]


INVENTORY = [inventory_row("msn-a"), inventory_row("aol-a")]


def snapshot() -> list[dict[str, Any]]:
    """Return what a host tells of its queues now: a reading of some minutes ago would be refused."""
    return [snapshot_row("msn-a"), snapshot_row("aol-a"), host_row()]


def answers(sshd: Sshd, *rows: dict[str, Any], queues: list[dict[str, Any]] | None = None) -> None:
    sshd.answers({"inventory": INVENTORY, "snapshot": queues or snapshot(), "log.read": rows})


def poll(host: Host) -> collect.Poll:
    result = collect.poll_host(host_id=host.pk, force=True)
    assert result is not None
    host.refresh_from_db()
    return result


def log(source: str = MSN) -> LogSource:
    return LogSource.objects.get(source=source)


def test_a_first_poll_brings_what_the_logs_told(sshd: Sshd, host: Host) -> None:
    load_shipped()
    answers(sshd, log_row(MSN, 1), log_row(AOL, 2), outcome_row(MSN, "msn-a", sent(620)))
    result = poll(host)
    assert result.outcome == PollOutcome.COMPLETE
    assert [(found.source, found.lines, found.unrecognized) for found in result.logs] == [
        (AOL, 100, 1),
        (MSN, 100, 1),
    ]
    assert (log().cursor, log(AOL).cursor) == ('{"offset":1,"v":1}', '{"offset":2,"v":1}')
    assert OutcomesDay.objects.get().sent == 620
    hours = dict(InstanceState.objects.values_list("instance__name", "hour_sent"))
    assert hours == {"msn-a": 620, "aol-a": 0}


def test_the_request_carries_the_cursors_and_the_fleets_addresses(sshd: Sshd, host: Host) -> None:
    instance_make(host_make("elsewhere"), "msn-z", ip="198.51.100.99")
    instance_make(host_make("gone"), "msn-y", ip="198.51.100.98", removed_at=timezone.now())
    answers(sshd, log_row(MSN, 7), log_row(AOL, 8))
    poll(host)
    script = reply_script(
        sshd.folder, {"snapshot": snapshot(), "log.read": [log_row(MSN, 9), log_row(AOL, 9)]}
    )
    keep = f"""case $request in *log.read*) printf %s "$request" >{sshd.folder}/asked;; esac\n"""
    sshd.says(READ_REQUEST + keep + script.removeprefix(READ_REQUEST))
    poll(host)
    args = json.loads((sshd.folder / "asked").read_text())["args"]
    assert args["cursors"] == {MSN: {"v": 1, "offset": 7}, AOL: {"v": 1, "offset": 8}}
    own = {row["bind_addresses"][0] for row in INVENTORY}
    assert set(args["fleet"]) == own | {"198.51.100.99"}
    assert 0 < args["seconds"] <= 60 and args["max_bytes"] > 0


def test_a_log_that_cannot_be_read_is_named_and_the_queue_is_known(sshd: Sshd, host: Host) -> None:
    refusal = {"code": "not_readable", "what": "log", "detail": "permission denied"}
    unread = log_row(AOL, 0, cursor=None, lines=0, unrecognized=0, behind_bytes=None, conditions=[refusal])
    answers(sshd, log_row(MSN, 1), unread | {"first": None, "last": None, "samples": []})
    result = poll(host)
    assert result.outcome == PollOutcome.COMPLETE
    assert [(found.source, found.condition) for found in result.logs] == [(AOL, "not_readable"), (MSN, "")]
    assert (log(AOL).condition_detail, log(AOL).read_at) == ("permission denied", None)
    assert InstanceState.objects.get(instance__name="aol-a").outcomes_at is None
    assert InstanceState.objects.filter(deferred=412).count() == 2


def test_an_older_relayctl_tells_its_queues(sshd: Sshd, host: Host) -> None:
    sshd.answers({"inventory": INVENTORY, "snapshot": snapshot()})
    result = poll(host)
    assert (result.outcome, result.error) == (PollOutcome.COMPLETE, "")
    assert {found.condition for found in result.logs} == {"incomplete"}
    assert "before its end line" in log().condition_detail
    assert InstanceState.objects.filter(deferred=412).count() == 2


def test_a_malformed_log_reply_changes_nothing_but_its_condition(sshd: Sshd, host: Host) -> None:
    answers(sshd, log_row(MSN, 1), outcome_row(MSN, "msn-a", sent(5)))
    poll(host)
    answers(sshd, log_row(MSN, 2), outcome_row(MSN, "msn-a", sent(-5)))
    result = poll(host)
    assert result.outcome == PollOutcome.COMPLETE
    assert (log().condition, log().cursor) == ("incompatible", '{"offset":1,"v":1}')
    assert OutcomesDay.objects.get().sent == 5


def test_a_queue_reply_that_is_malformed_leaves_the_logs(sshd: Sshd, host: Host) -> None:
    answers(sshd, log_row(MSN, 1), log_row(AOL, 1))
    poll(host)
    bad = [snapshot_row("msn-a", sampled_at="yesterday")]
    answers(sshd, log_row(MSN, 2), outcome_row(MSN, "msn-a", sent(5)), queues=bad)
    result = poll(host)
    assert result.outcome == PollOutcome.INCOMPATIBLE
    assert host_state(host.last_outcome, host.last_success_at, timezone.now(), 60) == HostState.INCOMPATIBLE
    assert OutcomesDay.objects.get().sent == 5


def test_a_database_that_refuses_counts_keeps_the_queue_and_the_cursor(sshd: Sshd, host: Host) -> None:
    answers(sshd, log_row(MSN, 1), outcome_row(MSN, "msn-a", sent(5)))
    with mock.patch.object(logs, "store_log", side_effect=OperationalError("disk I/O error")):
        result = poll(host)
    assert result.outcome == PollOutcome.COMPLETE
    assert (log().condition, log().cursor) == ("not_stored", "")
    assert "disk I/O error" in log().condition_detail
    poll(host)
    assert (log().condition, OutcomesDay.objects.get().sent) == ("", 5)


def test_a_host_far_behind_takes_several_pieces_and_then_lets_go(
    sshd: Sshd, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_shipped()
    asked = sshd.folder / "pieces"
    asked.write_text("0")
    pieces = reply_script(sshd.folder, {"inventory": INVENTORY, "snapshot": snapshot(), "log.read": []})
    rows = [log_row(MSN, 7_777, behind_bytes=10**9), outcome_row(MSN, "msn-a", sent(5))]
    told = "\n".join(map(json.dumps, rows))
    # Each piece with the next cursor, on and on.
    sshd.says(
        pieces.removesuffix("esac\n").replace(f"log.read) cat {sshd.folder}/log.read.rows;;", "")
        + f"""log.read) n=$(($(cat {asked}) + 1)); echo $n >{asked}
cat <<'ROWS' | sed "s/7777/$n/"
{told}
{{"end": true, "rows": 2, "truncated": false}}
ROWS
;; esac
"""
    )
    monkeypatch.setattr(logs, "PIECES_S", 1)
    result = poll(host)
    count = int(asked.read_text())
    assert count >= 2
    assert (log().cursor, log().behind_bytes) == (f'{{"offset":{count},"v":1}}', 10**9)
    assert OutcomesDay.objects.get().sent == 5 * count
    msn = next(found for found in result.logs if found.source == MSN)
    assert (msn.lines, msn.behind_bytes) == (100 * count, 10**9)
    poll(host)
    assert int(asked.read_text()) > count


def test_a_log_that_no_known_instance_has_asks_for_a_new_inventory(sshd: Sshd, host: Host) -> None:
    answers(sshd, log_row(MSN, 1), log_row("/var/log/new.log", 1))
    poll(host)
    assert host.inventory_at is None
    assert not LogSource.objects.filter(source="/var/log/new.log").exists()


def test_the_state_follows_from_the_logs_of_the_same_poll(sshd: Sshd, host: Host) -> None:
    load_shipped()
    empty = {"incoming": 0, "active": 0, "deferred": 0, "hold": 0, "corrupt": None}
    quiet = [snapshot_row(n, queues=empty, oldest_s=None, replies=None) for n in ("msn-a", "aol-a")]
    digest = hashlib.sha256(THROTTLE.encode()).hexdigest()[:16]
    refused = ["hotmail.com", "deferred", "4.7.0", digest, 20, 0]
    reply = [digest, THROTTLE, THROTTLE, 421, "4.7.0", int(time.time()) - 60, int(time.time()) - 60]
    answers(
        sshd,
        log_row(MSN, 1),
        log_row(AOL, 1, lines=0, first=None, last=None),
        outcome_row(MSN, "msn-a", sent(60), refused),
        {"kind": "replies", "source": MSN, "rows": [reply]},
        queues=[*quiet, host_row()],
    )
    poll(host)
    assert dict(InstanceState.objects.values_list("instance__name", "state")) == {
        "msn-a": "throttled",
        "aol-a": "quiet",
    }
    assert InstanceState.objects.get(instance__name="msn-a").hour_throttled == 20


def test_an_hour_that_is_not_of_now_says_nothing_of_the_state(sshd: Sshd, host: Host) -> None:
    poll(host)
    old = timezone.now() - timedelta(hours=1)
    InstanceState.objects.update(outcomes_at=old, hour_sent=1, hour_deferred=99, hour_blocked=99)
    poll(host)
    assert set(InstanceState.objects.values_list("state", flat=True)) == {"throttled"}
