"""An instance's rate held on a real Postfix, and given back as it was: docs/relayctl.md, "A held rate"."""

import json
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.agent.postfix_host import send, wait_for_deferred
from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_write import wait_until
from tests.agent.test_relayctl_write_killed import _FAULT, _SITE
from tests.agent.write_host import (
    LIMITS,
    STATE,
    A,
    Answered,
    ask,
    command,
    entry,
    events,
    journal,
    make,
    new_id,
    request,
)

pytestmark = pytest.mark.lab

SETTING = "smtp_transport_rate_delay"
STATE_FILE = f"{STATE}/instances/msn-a/rate.json"
_fences = count(1, 2)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("rate") / "host") as sandbox:
        make(sandbox)
        sandbox.write(f"{_SITE}/fault.py", _FAULT)
        sandbox.write(f"{_SITE}/zz-fault.pth", "import fault\n")
        yield sandbox


@pytest.fixture
def host(machine: Sandbox) -> Iterator[Sandbox]:
    """No rate is held, and main.cf has none."""
    yield machine
    for path in ("/run/fault", LIMITS, STATE_FILE, f"{STATE}/instances/msn-a/pace.json"):
        machine.inside(path).unlink(missing_ok=True)
    machine.run("postconf", "-c", A, "-X", SETTING)
    old(machine)


def old(host: Sandbox) -> None:
    host.run("touch", "-d", "10 sec ago", f"{A}/main.cf")


def change(host: Sandbox, verb: str, **more: Any) -> Answered:
    args = {"instance": "msn-a", **more.pop("args", {})}
    return ask(host, request(verb, **{"op_id": "op-1", "fence": next(_fences), "args": args, **more}))


def hold(host: Sandbox, delay_s: int = 20, **more: Any) -> Answered:
    return change(host, "rate.hold", args={"delay_s": delay_s}, **more)


def line(host: Sandbox) -> str:
    """Return the setting's line in main.cf, "" for none."""
    lines = host.inside(f"{A}/main.cf").read_text().splitlines()
    return next((text for text in lines if text.startswith(SETTING)), "")


def set_by_hand(host: Sandbox, value: str) -> None:
    host.run("postconf", "-c", A, "-e", f"{SETTING}={value}")
    old(host)


def reloads(host: Sandbox) -> int:
    return host.inside("/var/log/postfix-msn-a.log").read_text().count("reload --")


def test_a_rate_is_held_and_released_to_the_byte(host: Sandbox) -> None:
    before, mode = host.inside(f"{A}/main.cf").read_bytes(), host.inside(f"{A}/main.cf").stat().st_mode
    reloaded = reloads(host)
    result = hold(host).row["result"]
    assert (result["ok"], line(host)) == (True, f"{SETTING} = 20s")
    assert host.inside(f"{A}/main.cf").stat().st_mode == mode
    assert reloads(host) == reloaded + 1
    assert change(host, "rate.release").row["result"]["ok"] is True
    assert host.inside(f"{A}/main.cf").read_bytes() == before
    assert not host.inside(STATE_FILE).exists() and reloads(host) == reloaded + 2


def test_while_it_is_held_postfix_tries_one_message_in_so_many_seconds(host: Sandbox) -> None:
    host.run("postconf", "-c", A, "-e", "defer_transports =")
    old(host)
    try:
        hold(host, 3)
        log = host.inside("/var/log/postfix-msn-a.log")
        tried, begun = log.read_text().count("status=deferred"), time.monotonic()
        for number in range(4):
            send(host, A, f"u{number}@slow{number}.example")
        wait_until(lambda: log.read_text().count("status=deferred") - tried >= 3, timeout_s=60)
        # Two delays lie between three tries; the log is read a little after it is written.
        assert time.monotonic() - begun >= 2 * 3
    finally:
        host.run("postconf", "-c", A, "-e", "defer_transports = smtp")
        old(host)
    change(host, "rate.release")
    wait_for_deferred(host, A, 7)


def test_what_was_set_before_comes_back_also_after_a_second_hold(host: Sandbox) -> None:
    set_by_hand(host, "5s")
    req_id = new_id()
    assert hold(host, 20, req_id=req_id).row["result"]["ok"] is True
    assert [
        row["before"] for row in journal(host) if row["req_id"] == req_id and row["event"] == "begun"
    ] == ["5s"]
    hold(host, 40)
    assert line(host) == f"{SETTING} = 40s"
    change(host, "rate.release")
    assert line(host) == f"{SETTING} = 5s"


@pytest.mark.parametrize("again", [False, True])
def test_a_second_hold_that_died_before_it_changed_anything_loses_no_value(
    again: bool, host: Sandbox
) -> None:
    set_by_hand(host, "5s")
    with host.unmeasured():
        for left in range(60):
            hold(host, 20)
            host.write("/run/fault", f"{left} fsync")
            sent = request(
                "rate.hold", op_id="op-1", fence=next(_fences), args={"instance": "msn-a", "delay_s": 30}
            )
            subprocess.run(command(host), input=sent, capture_output=True, check=False, timeout=60)
            host.inside("/run/fault").unlink()
            host.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)
            if json.loads(host.inside(STATE_FILE).read_text())["delay_s"] == 30:
                break
    assert line(host) == f"{SETTING} = 20s"
    if again:
        hold(host, 40)
    change(host, "rate.release")
    assert line(host) == f"{SETTING} = 5s"


def test_what_somebody_set_by_hand_meanwhile_stays(host: Sandbox) -> None:
    hold(host)
    set_by_hand(host, "7s")
    result = change(host, "rate.release").row["result"]
    assert (result["ok"], line(host)) == (True, f"{SETTING} = 7s")
    assert result["output"] == f"left as somebody has set it: {SETTING} = 7s"
    hold(host)
    set_by_hand(host, "9s")
    hold(host, 30)
    change(host, "rate.release")
    assert line(host) == f"{SETTING} = 9s"


def test_without_a_rate_there_is_nothing_to_release(host: Sandbox) -> None:
    reloaded = reloads(host)
    assert change(host, "rate.release").row["result"]["output"] == "no rate is held"
    assert reloads(host) == reloaded


def test_a_dry_run_tells_the_command_and_its_plan_holds_until_the_setting_changes(host: Sandbox) -> None:
    plan = hold(host, dry_run=True).row
    assert plan["commands"] == [["/usr/sbin/postconf", "-c", A, "-e", f"{SETTING}=20s"]]
    assert line(host) == "" and not host.inside(STATE_FILE).exists()
    expect = {"plan_hash": plan["plan_hash"]}
    set_by_hand(host, "5s")
    assert "the plan no longer holds" in hold(host, expect=expect).error[2]
    host.run("postconf", "-c", A, "-X", SETTING)
    old(host)
    assert hold(host, expect=expect).row["result"]["ok"] is True


@pytest.mark.parametrize("delay_s", [None, 0, -1, 86_401, 1.5, "20", True])
def test_what_is_no_delay_is_a_bad_request(delay_s: Any, host: Sandbox) -> None:
    args = {} if delay_s is None else {"delay_s": delay_s}
    assert change(host, "rate.hold", args=args).error[:2] == (13, "bad_request")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"rate_hold": False}, "switched off"),
        ({"rate_delay_most_s": 19}, "more than this host's limits allow: 19"),
        ({"rate_changes_in_an_hour": 1}, "a change of the rate"),
    ],
)
def test_roots_limits_hold(limits: dict[str, Any], why: str, host: Sandbox) -> None:
    if "rate_changes_in_an_hour" in limits:
        hold(host, 10)
    host.write(LIMITS, json.dumps(limits))
    assert why in hold(host).error[2]


def test_it_is_refused_where_it_would_hold_nothing_and_while_a_redirect_is_on(host: Sandbox) -> None:
    redirect = host.inside(f"{STATE}/redirects/msn-a")
    redirect.parent.mkdir(exist_ok=True)
    redirect.write_text("hotmail.com drain:[127.0.0.1]:2526\n")
    try:
        for verb, args in (("rate.hold", {"delay_s": 20}), ("rate.release", {})):
            assert "a flush runs" in change(host, verb, args=args).error[2]
    finally:
        redirect.unlink()
    for parameter, value in (("default_transport", "other:"), ("default_transport", "error:down")):
        host.run("postconf", "-c", A, "-e", f"{parameter}={value}")
        old(host)
        assert "does not go by the service smtp" in hold(host).error[2]
    host.run("postconf", "-c", A, "-X", "default_transport")
    old(host)
    host.run("postconf", "-c", A, "-P", f"qmgr/unix/{SETTING}=2s")
    assert "master.cf sets" in hold(host).error[2]
    host.run("postconf", "-c", A, "-PX", f"qmgr/unix/{SETTING}")


def test_a_damaged_record_of_what_was_before_changes_nothing(host: Sandbox) -> None:
    hold(host)
    host.write(STATE_FILE, "{")
    for answered in (hold(host, 30), change(host, "rate.release")):
        assert "is damaged" in answered.error[2]
    assert line(host) == f"{SETTING} = 20s"


def test_killed_at_every_fsync_it_is_released_to_what_was_before(host: Sandbox) -> None:
    """A request that died is sent anew under another id, as the console does: the old value survives that."""
    set_by_hand(host, "5s")
    with host.unmeasured():
        for verb, args in (("rate.hold", {"delay_s": 20}), ("rate.release", {})):
            for left in range(60):
                host.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)
                if verb == "rate.release":
                    hold(host)
                req_id = new_id()
                host.write("/run/fault", f"{left} fsync")
                sent = request(
                    verb, req_id=req_id, op_id="op-1", fence=next(_fences), args={"instance": "msn-a", **args}
                )
                done = subprocess.run(command(host), input=sent, capture_output=True, check=False, timeout=60)
                host.inside("/run/fault").unlink()
                assert line(host) in {f"{SETTING} = 5s", f"{SETTING} = 20s"}
                assert "begun" in events(host, req_id) or not entry(host, req_id).exists()
                host.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)
                assert change(host, "rate.release").row["result"]["ok"] is True
                assert line(host) == f"{SETTING} = 5s"
                if done.returncode == 0:
                    break
            assert done.returncode == 0
