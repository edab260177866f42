"""A redirect on a real Postfix: onboarded by root, put on under a lease, ended by the host whatever comes."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from tests.agent.postfix_host import listed, send, start, wait_for_deferred, wait_for_long_ids
from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_write_killed import _FAULT, _SITE
from tests.agent.write_host import (
    PROGRAM,
    STATE,
    A,
    Answered,
    B,
    ask,
    ask_reader,
    command,
    entry,
    events,
    make,
    new_id,
    request,
)

pytestmark = pytest.mark.lab

TO = {"address": "127.0.0.1", "port": 2526}
MAP = f"{STATE}/redirects/msn-a"
LEASE = f"{STATE}/instances/msn-a/lease.json"
_fences = count(1, 2)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Two instances: msn-a defers all mail, msn-b is where it may go."""
    with Sandbox(tmp_path_factory.mktemp("redirect") / "host") as sandbox:
        make(sandbox)
        sandbox.run("postconf", "-c", B, "-e", "mynetworks=127.0.0.0/8")
        start(sandbox, B)
        sandbox.write(f"{_SITE}/fault.py", _FAULT)
        sandbox.write(f"{_SITE}/zz-fault.pth", "import fault\n")
        sandbox.run(PROGRAM, "onboard", "--yes")
        sandbox.run(PROGRAM, "peers", "add", "msn-b=127.0.0.1:2526")
        wait_for_long_ids(sandbox, A)
        yield sandbox


@pytest.fixture
def host(machine: Sandbox) -> Iterator[Sandbox]:
    """No redirect is on, and the guard has just looked."""
    machine.run(PROGRAM, "guard")
    yield machine
    machine.inside("/run/fault").unlink(missing_ok=True)
    change(machine, "redirect.clear")
    machine.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)


def change(host: Sandbox, verb: str, *, op_id: str = "op-1", **args: Any) -> Answered:
    sent = request(verb, op_id=op_id, fence=next(_fences), args={"instance": "msn-a", **args})
    return ask(host, sent)


def put_on(host: Sandbox, *domains: str, **more: Any) -> Answered:
    return put_on_to(host, TO, *domains, **more)


def put_on_to(host: Sandbox, to: dict[str, Any], *domains: str, lease_s: int = 60, **more: Any) -> Answered:
    return change(
        host, "redirect.set", to=to, domains=list(domains or ("hotmail.com",)), lease_s=lease_s, **more
    )


def read(host: Sandbox, verb: str, **args: Any) -> Answered:
    return ask_reader(host, request(verb, args=args))


def status(host: Sandbox) -> dict[str, Any]:
    rows = read(host, "redirect.status").lines[1:-1]
    return next(row for row in rows if row["instance"] == "msn-a")


def lines(host: Sandbox) -> list[str]:
    return [line for line in host.inside(MAP).read_text().splitlines() if not line.startswith("#")]


def rewrite_lease(host: Sandbox, **fields: Any) -> None:
    path = host.inside(LEASE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


# --- onboarding --------------------------------------------------------------------------------------


def test_what_onboard_makes_is_what_a_redirect_needs(host: Sandbox) -> None:
    found = status(host)
    assert (found["onboarded"], found["problems"], found["fast_flush"]) == (True, [], True)
    master = host.run("postconf", "-c", A, "-Mf", "drain/unix").stdout.decode()
    assert "smtp_bind_address=127.0.0.125" in master
    assert "smtp_helo_name=helo.msn-a.example" in master
    assert "soft_bounce=yes" in master
    assert "syslog_name=postfix-msn-a/drain" in master
    maps = host.run("postconf", "-c", A, "-h", "transport_maps").stdout.decode().strip()
    assert maps == f"texthash:{MAP}"


def test_onboard_is_listed_first_then_done_once_and_given_back_to_the_byte(host: Sandbox) -> None:
    before = {name: host.inside(f"{B}/{name}").read_bytes() for name in ("main.cf", "master.cf")}
    undone = host.run(PROGRAM, "onboard", "msn-b", "--undo", "--json")
    assert json.loads(undone.stdout)["applied"] is False
    assert before == {name: host.inside(f"{B}/{name}").read_bytes() for name in before}
    host.run(PROGRAM, "onboard", "msn-b", "--undo", "--yes")
    assert not host.inside(f"{STATE}/redirects/msn-b").exists()
    assert "drain" not in host.inside(f"{B}/master.cf").read_text()
    listed_first = host.run(PROGRAM, "onboard", "msn-b").stdout.decode()
    assert "main.cf: transport_maps = texthash:" in listed_first
    assert "nothing was changed" in listed_first
    original = {name: host.inside(f"{B}/{name}").read_bytes() for name in before}
    host.write(f"{B}/main.cf", original["main.cf"] + b"transport_maps = hash:/etc/other, $relay_maps\n")
    host.run(PROGRAM, "onboard", "msn-b", "--yes")
    assert b"redirects/msn-b, hash:/etc/other, $relay_maps" in host.inside(f"{B}/main.cf").read_bytes()
    assert "nothing to change" in host.run(PROGRAM, "onboard", "msn-b").stdout.decode()
    host.run(PROGRAM, "onboard", "msn-b", "--undo", "--yes")
    assert (
        host.inside(f"{B}/main.cf").read_bytes().endswith(b"transport_maps = hash:/etc/other, $relay_maps\n")
    )
    assert host.inside(f"{B}/master.cf").read_bytes() == original["master.cf"]
    host.write(f"{B}/main.cf", original["main.cf"])
    host.run(PROGRAM, "onboard", "msn-b", "--yes")


@pytest.mark.usefixtures("unmeasured")
def test_an_onboarding_that_was_killed_at_any_point_is_finished_by_the_next(host: Sandbox) -> None:
    service = host.inside("/var/spool/postfix-msn-b/private/drain")
    host.run(PROGRAM, "onboard", "msn-b", "--undo", "--yes")
    original = {name: host.inside(f"{B}/{name}").read_bytes() for name in ("main.cf", "master.cf")}
    # Each file is synced before it is put in place, and its directory after; the first five times it is the
    # map and what it lies in.
    for left in range(5, 20):
        service.unlink(missing_ok=True)
        host.write("/run/fault", f"{left} fsync")
        done = host.run(PROGRAM, "onboard", "msn-b", "--yes", check=False)
        host.inside("/run/fault").unlink()
        # So that no program waits for it to cool down.
        host.run("touch", "-d", "10 sec ago", f"{B}/main.cf")
        would = host.run(PROGRAM, "onboard", "msn-b").stdout.decode()
        if "nothing to change" not in would:
            host.run(PROGRAM, "onboard", "msn-b", "--yes")
        give_up_at = time.monotonic() + 20
        while not service.is_socket():
            assert time.monotonic() < give_up_at, "master was not told of the drain"
            time.sleep(0.1)
        host.run("touch", "-d", "10 sec ago", f"{B}/main.cf")
        host.run(PROGRAM, "onboard", "msn-b", "--undo", "--yes")
        assert original == {name: host.inside(f"{B}/{name}").read_bytes() for name in original}
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert left > 9
    host.run(PROGRAM, "onboard", "msn-b", "--yes")


def test_what_was_changed_by_hand_since_is_kept_and_shown_as_drift(host: Sandbox) -> None:
    main_cf = host.inside(f"{A}/main.cf").read_bytes()
    host.run("postconf", "-c", A, "-e", f"transport_maps=hash:/etc/mine, texthash:{MAP}")
    try:
        assert "goes before a redirect" in status(host)["problems"][0]
        assert "not onboarded" in put_on(host).error[2]
        kept = host.run(PROGRAM, "onboard", "msn-a", "--undo").stdout.decode()
        assert "keep main.cf: it was changed since" in kept
    finally:
        host.write(f"{A}/main.cf", main_cf)
    assert status(host)["onboarded"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["onboard", "no-such"], "there is no instance"),
        (["peers", "add", "nonsense"], "is no address"),
        (["peers", "add", "x=[2001:db8::1]:99999"], "is no address"),
        (["onboard", "--maxproc", "0"], "must be 1 to 200"),
    ],
)
def test_a_command_that_cannot_be_says_why(host: Sandbox, arguments: list[str], words: str) -> None:
    done = host.run(PROGRAM, *arguments, check=False)
    assert done.returncode != 0
    assert words in done.stderr.decode()


def test_peers_are_listed_added_once_and_removed(host: Sandbox) -> None:
    host.run(PROGRAM, "peers", "add", "six=[2001:db8::12]:26", "six=[2001:db8::12]:26")
    assert "six [2001:db8::12]:26" in host.run(PROGRAM, "peers", "list").stdout.decode()
    host.run(PROGRAM, "peers", "remove", "[2001:db8::12]:26")
    assert json.loads(host.run(PROGRAM, "peers", "list", "--json").stdout) == [{"name": "msn-b", **TO}]


def test_the_console_can_do_none_of_it(host: Sandbox) -> None:
    as_read_user = ["setpriv", "--reuid=relay-read", "--regid=relay-read", "--init-groups", "--"]
    for words in (["onboard", "--yes"], ["peers", "add", "127.0.0.9"]):
        assert host.run(*as_read_user, PROGRAM, *words, check=False).returncode == 10
        over_ssh = {"SSH_ORIGINAL_COMMAND": "x", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        assert host.run(PROGRAM, *words, check=False, env=over_ssh).returncode == 10


# --- put on, renewed, given back -----------------------------------------------------------------------


def test_only_the_domain_s_mail_goes_to_the_peer_and_then_its_own_way_again(host: Sandbox) -> None:
    deferred = {tuple(r["address"] for r in entry["recipients"]) for entry in listed(host, A)}
    assert put_on(host).row["result"]["ok"] is True
    assert lines(host) == ["hotmail.com drain:[127.0.0.1]:2526"]
    cursor = read(host, "flush.log", instance="msn-b", role="target", at_end=True).lines[-1]["cursor"]
    assert change(host, "flush.retry", domains=["hotmail.com"]).row["result"]["ok"] is True
    give_up_at = time.monotonic() + 30
    while any("hotmail" in r["address"] for e in listed(host, A) for r in e["recipients"]):
        assert time.monotonic() < give_up_at, listed(host, A)
        time.sleep(0.2)
    assert ("d@outlook.com",) in deferred
    assert [r["address"] for e in listed(host, A) for r in e["recipients"]] == ["d@outlook.com"]
    told = read(host, "flush.log", instance="msn-a", role="source").lines[1]["rows"]
    out = [event for event in told if event[0] == "out"]
    assert {event[3] for event in out} == {"a@hotmail.com", "b@hotmail.com", "c@hotmail.com"}
    assert all(event[4] == "sent" and event[6] for event in out)
    there = read(
        host, "flush.log", instance="msn-b", role="target", client="127.0.0.125", cursor=cursor
    ).lines
    arrived = {event[2] for event in there[1]["rows"] if event[0] == "in"}
    assert {event[6] for event in out} <= arrived
    assert change(host, "redirect.clear").row["result"]["ok"] is True
    assert lines(host) == []
    assert not host.inside(LEASE).exists()
    send(host, A, "e@hotmail.com")
    wait_for_deferred(host, A, 2)


def test_what_waits_is_scanned_in_one_pass_with_what_it_comes_to(host: Sandbox) -> None:
    send(host, A, "x@scan.example", "y@scan.example", "z@elsewhere.example")
    wait_for_deferred(host, A, 1)
    give_up_at = time.monotonic() + 20
    while (found := read(host, "flush.scan", instance="msn-a", domains=["scan.example"])).lines[-1]["counts"][
        "messages"
    ] < 1:
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
    ((queue, queue_id, _, size, recipients),) = found.lines[1]["rows"]
    assert (queue, len(queue_id) > 8, size > 0) == ("deferred", True, True)
    assert {address for address, _ in recipients} == {"x@scan.example", "y@scan.example"}
    counts = found.lines[-1]["counts"]
    assert (counts["recipients"], counts["elsewhere"], counts["near_end"]) == (2, 1, 0)
    few = read(
        host, "flush.scan", instance="msn-a", domains=["*"], counts_only=True, lifetime_s=1, size_limit=1
    )
    assert len(few.lines) == 2
    assert few.lines[-1]["counts"]["near_end"] == few.lines[-1]["counts"]["messages"] > 0
    assert few.lines[-1]["counts"]["too_large"] > 0


def test_single_messages_are_tried_by_their_ids_while_it_is_on(host: Sandbox) -> None:
    send(host, A, "f@aol.com")
    wait_for_deferred(host, A, 1)
    (entry,) = [e for e in listed(host, A) if e["recipients"][0]["address"] == "f@aol.com"]
    assert "no redirect is on" in change(host, "flush.retry", ids=[entry["queue_id"]]).error[2]
    put_on(host, "aol.com")
    result = change(host, "flush.retry", ids=[entry["queue_id"]]).row["result"]
    assert (result["ok"], result["counts"]) == (True, {"messages": 1})
    assert "not for example.org" in change(host, "flush.retry", domains=["example.org"]).error[2]


def test_a_second_redirect_is_refused_while_one_is_on(host: Sandbox) -> None:
    put_on(host)
    assert "by op-1: that is given back first" in put_on(host, op_id="op-2").error[2]
    preflight = ask(host, request("flush.preflight", args={"instance": "msn-a", "to": TO, "recipients": []}))
    assert [r["check"] for r in preflight.lines[1:-1] if r["kind"] == "check" and not r["ok"]] == [
        "not_redirected"
    ]


def test_only_its_own_operation_renews_it(host: Sandbox) -> None:
    assert "nothing to renew" in change(host, "redirect.renew", lease_s=60).error[2]
    put_on(host, lease_s=30)
    assert change(host, "redirect.renew", op_id="op-2", lease_s=600).row["result"]["ok"] is False
    assert change(host, "redirect.renew", lease_s=600).row["result"]["ok"] is True
    host.run(PROGRAM, "guard")
    found = status(host)
    assert (found["op_id"], 500 < found["left_s"] <= 600) == ("op-1", True)
    rewrite_lease(host, expires_bt=1.0)
    assert "it has ended" in change(host, "redirect.renew", lease_s=60).row["result"]["output"]


def test_what_is_paused_waits_here_and_goes_to_the_peer_again_when_it_goes_on(host: Sandbox) -> None:
    assert "no redirect is on" in change(host, "redirect.pause").error[2]
    put_on(host)
    assert change(host, "redirect.pause", op_id="op-2").row["result"]["ok"] is False
    for _ in range(2):
        assert change(host, "redirect.pause").row["result"]["ok"] is True
        assert (status(host)["to"], status(host)["paused"]) == ("[127.0.0.1]:2526", True)
    assert lines(host) == ["hotmail.com drain-paused:[127.0.0.1]:2526"]
    assert "is paused" in change(host, "flush.retry", domains=["hotmail.com"]).error[2]
    assert goes_its_own_way(host, "while-paused@hotmail.com")
    log = host.inside("/var/log/postfix-msn-a.log").read_text()
    (waited,) = [line for line in log.splitlines() if "to=<while-paused@" in line and "status=" in line]
    assert "relay=none" in waited and "status=deferred" in waited
    # Its own way waits too (defer_transports), so what arrives at the peer came by the redirect.
    assert change(host, "redirect.resume").row["result"]["ok"] is True
    assert (lines(host), status(host)["paused"]) == (["hotmail.com drain:[127.0.0.1]:2526"], False)
    assert change(host, "flush.retry", domains=["hotmail.com"]).row["result"]["ok"] is True
    give_up_at = time.monotonic() + 30
    while any(r["address"] == "while-paused@hotmail.com" for e in listed(host, A) for r in e["recipients"]):
        assert time.monotonic() < give_up_at, listed(host, A)
        time.sleep(0.2)


def test_the_guard_ends_a_paused_redirect_as_any_other(host: Sandbox) -> None:
    put_on(host)
    change(host, "redirect.pause")
    host.run(PROGRAM, "guard", "--only", "redirects")
    assert lines(host)
    assert (status(host)["op_id"], status(host)["paused"]) == ("op-1", True)
    rewrite_lease(host, expires_bt=1.0)
    assert "it has ended: its lease has run out" in change(host, "redirect.resume").row["result"]["output"]
    host.run(PROGRAM, "guard", "--only", "redirects")
    assert (lines(host), host.inside(LEASE).exists()) == ([], False)


def test_giving_back_what_is_not_on_is_done(host: Sandbox) -> None:
    for _ in range(3):
        assert change(host, "redirect.clear").row["result"]["ok"] is True


@pytest.mark.parametrize(
    ("to", "domains", "lease_s", "words"),
    [
        ({"address": "127.0.0.9", "port": 25}, ["hotmail.com"], 60, "is no peer of this host"),
        ({"address": "msn-b", "port": 25}, ["hotmail.com"], 60, "to: "),
        ({"address": "127.0.0.1"}, ["hotmail.com"], 60, "address and port"),
        (TO, [], 60, "domains must be a list"),
        (TO, ["hotmail.com\n* smtp:[9.9.9.9]"], 60, "domains must be domain names"),
        (TO, ["bücher.example"], 60, "domains must be domain names"),
        (TO, [".hotmail.com"], 60, "domains must be domain names"),
        (TO, ["a b"], 60, "domains must be domain names"),
        (TO, ["x" * 64 + ".example"], 60, "domains must be domain names"),
        (TO, ["Hotmail.com"], 60, "domains must be domain names"),
        (TO, ["hotmail.com"], 10, "lease_s must be"),
        (TO, ["hotmail.com"], 4_000, "lease_s must be"),
    ],
)
def test_what_must_not_be_put_on_is_refused_and_nothing_is_written(
    host: Sandbox, to: dict[str, Any], domains: list[str], lease_s: int, words: str
) -> None:
    assert words in change(host, "redirect.set", to=to, domains=domains, lease_s=lease_s).error[2]
    assert lines(host) == []
    assert not host.inside(LEASE).exists()


def test_everything_is_the_domains_and_the_rest(host: Sandbox) -> None:
    put_on(host, "xn--bcher-kva.example", "*", "hotmail.com", "hotmail.com")
    assert lines(host) == [
        f"{domain} drain:[127.0.0.1]:2526" for domain in ("*", "hotmail.com", "xn--bcher-kva.example")
    ]


def test_without_a_guard_nothing_is_put_on(host: Sandbox) -> None:
    host.inside("/run/relay-fleet/redirects.json").unlink()
    assert "the guard was never heard of" in put_on(host).error[2]
    published: dict[str, Any] = {"at_bt": 1.0, "boot_id": None, "redirects": {}}
    host.write("/run/relay-fleet/redirects.json", json.dumps(published))
    assert "the guard was never heard of" in put_on(host).error[2]


def test_root_may_switch_it_off(host: Sandbox) -> None:
    host.write("/etc/relay-fleet/limits.json", '{"flush": false}')
    try:
        assert "switched off" in put_on(host).error[2]
        assert "switched off" in change(host, "flush.retry", domains=["hotmail.com"]).error[2]
    finally:
        host.inside("/etc/relay-fleet/limits.json").unlink()


def test_a_map_that_postmap_reads_otherwise_is_not_put_in_place(host: Sandbox) -> None:
    host.run("mount", "--bind", "/bin/false", "/usr/sbin/postmap")
    try:
        assert put_on(host).row["result"]["ok"] is False
    finally:
        host.run("umount", "/usr/sbin/postmap")
    assert lines(host) == []
    assert not host.inside(LEASE).exists()


def test_a_peer_list_that_somebody_else_could_write_is_not_believed(host: Sandbox) -> None:
    peers = host.inside("/etc/relay-fleet/peers.json")
    peers.chmod(0o666)
    try:
        assert "must be root's" in put_on(host).error[2]
    finally:
        peers.chmod(0o644)


# --- ended by the host ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"expires_bt": 1.0}, "its lease has run out"),
        ({"hard_end_bt": 1.0}, "it has lasted for 6 hours"),
        ({"boot_id": "another"}, "the host was started anew"),
    ],
)
def test_the_guard_ends_what_has_no_lease_that_holds(host: Sandbox, fields: dict[str, Any], why: str) -> None:
    put_on(host)
    host.run(PROGRAM, "guard", "--only", "redirects")
    assert lines(host)
    rewrite_lease(host, **fields)
    said = host.run(PROGRAM, "guard", "--only", "redirects").stderr.decode()
    assert f"msn-a: its redirect ends: {why}" in said
    assert lines(host) == []
    assert not host.inside(LEASE).exists()


def test_the_guard_ends_a_redirect_without_a_lease_and_one_whose_lease_is_damaged(host: Sandbox) -> None:
    for content in (None, "{", "[]", '{"op_id": 1}'):
        put_on(host)
        host.inside(LEASE).unlink()
        if content is not None:
            host.write(LEASE, content)
        host.run(PROGRAM, "guard", "--only", "redirects")
        assert lines(host) == []


def test_the_guard_empties_a_map_that_relayctl_did_not_write(host: Sandbox) -> None:
    host.write(MAP, "hotmail.com smtp:[203.0.113.9]\n")
    snapshot = read(host, "snapshot").lines
    (row,) = [row for row in snapshot if row.get("name") == "msn-a"]
    assert row["redirect"]["to"] == "?"
    host.run(PROGRAM, "guard", "--only", "redirects")
    assert lines(host) == []


def test_a_snapshot_tells_of_a_redirect_that_is_on_and_of_none_otherwise(host: Sandbox) -> None:
    def told() -> Any:
        (row,) = [row for row in read(host, "snapshot").lines if row.get("name") == "msn-a"]
        return row.get("redirect")

    assert told() is None
    put_on(host)
    host.run(PROGRAM, "guard", "--only", "redirects")
    assert (told()["to"], told()["op_id"]) == ("[127.0.0.1]:2526", "op-1")


# To go on is the same change the other way round.
@pytest.mark.parametrize("verb", ["redirect.set", "redirect.pause", "redirect.clear"])
@pytest.mark.usefixtures("unmeasured")
def test_killed_at_every_point_the_map_is_the_old_or_the_new_and_the_guard_ends_it(
    host: Sandbox, verb: str
) -> None:
    whole = ["hotmail.com drain:[127.0.0.1]:2526"]
    paused = ["hotmail.com drain-paused:[127.0.0.1]:2526"]
    may_be = (whole, paused) if verb == "redirect.pause" else ([], whole)
    for left in range(60):
        host.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)
        if verb != "redirect.set":
            put_on(host)
        host.write("/run/fault", f"{left} fsync rename")
        args = {"instance": "msn-a"} | (
            {"to": TO, "domains": ["hotmail.com"], "lease_s": 60} if verb == "redirect.set" else {}
        )
        sent = request(verb, req_id=new_id(), op_id="op-1", fence=next(_fences), args=args)
        done = subprocess.run(command(host), input=sent, capture_output=True, check=False, timeout=90)
        host.inside("/run/fault").unlink()
        assert lines(host) in may_be
        # A redirect that is on has a lease, whatever happened.
        assert host.inside(LEASE).exists() or not lines(host)
        if host.inside(LEASE).exists():
            rewrite_lease(host, expires_bt=1.0)
        host.run(PROGRAM, "guard", "--only", "redirects")
        assert (lines(host), host.inside(LEASE).exists()) == ([], False)
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert left > 8


@contextmanager
def full(host: Sandbox, folder: str, *, with_its_files: bool = True) -> Iterator[None]:
    """Put a disk that takes nothing more in a folder's place."""
    host.run("cp", "-a", folder, "/run/before")
    host.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", folder)
    if with_its_files:
        host.run("cp", "-a", "/run/before/.", folder)
    host.run("rm", "-r", "/run/before")
    host.run("dd", "if=/dev/zero", f"of={folder}/fill", "bs=1k", check=False)
    try:
        yield
    finally:
        host.run("umount", folder)


def goes_its_own_way(host: Sandbox, recipient: str) -> bool:
    """Tell whether what is sent now waits here, as Postfix itself sees it."""
    send(host, A, recipient)
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        found = [e["queue_name"] for e in listed(host, A) if e["recipients"][0]["address"] == recipient]
        if found == ["deferred"]:
            return True
        time.sleep(0.2)
    return False


def test_the_guard_ends_a_redirect_on_a_full_disk(host: Sandbox) -> None:
    put_on(host)
    rewrite_lease(host, expires_bt=1.0)
    # Without a text in it the lock has no room to write one over.
    host.inside(f"{STATE}/instances/msn-a/lock").write_text("")
    with full(host, STATE):
        host.run(PROGRAM, "guard", "--only", "redirects")
        assert (lines(host), host.inside(LEASE).exists()) == ([], False)
        assert goes_its_own_way(host, "guarded@hotmail.com")


def test_a_redirect_is_given_back_on_a_full_disk_while_the_journal_takes_it(host: Sandbox) -> None:
    put_on(host)
    req_id = new_id()
    sent = request(
        "redirect.clear", req_id=req_id, op_id="op-2", fence=next(_fences), args={"instance": "msn-a"}
    )
    with full(host, STATE):
        assert "disk full" in change(host, "redirect.renew", lease_s=60).error[2]
        with full(host, "/var/log/relay-fleet", with_its_files=False):
            assert "nothing was done" in ask(host, sent).error[2]
        assert lines(host)
        for _ in range(2):
            row = ask(host, sent).row
            assert (row["req_id"], row["state"], row["result"]["ok"]) == (req_id, "done", True)
        assert (lines(host), host.inside(LEASE).exists()) == ([], False)
        assert goes_its_own_way(host, "cleared@hotmail.com")
    assert events(host, req_id) == ["begun", "ended"] * 2
    assert not entry(host, req_id).exists()


# --- the path, tried -----------------------------------------------------------------------------------


def preflight(host: Sandbox, **args: Any) -> dict[str, dict[str, Any]]:
    answer = ask(
        host, request("flush.preflight", args={"instance": "msn-a", "to": TO, "recipients": [], **args})
    )
    return {row.get("check", row["kind"]): row for row in answer.lines[1:-1]}


def test_the_path_is_tried_up_to_rcpt_and_no_message_follows(host: Sandbox) -> None:
    before = len(listed(host, B))
    told = preflight(host, sender="a@lists.example", recipients=["x@hotmail.com", "y@outlook.com"])
    assert [row for row in told.values() if row["kind"] == "check" and not row["ok"]] == []
    assert told["peer"]["recipients_accepted"] == 2
    assert told["peer"]["size_limit"] == 10_240_000
    assert len(listed(host, B)) == before


def test_a_target_that_refuses_is_told_with_its_words(host: Sandbox) -> None:
    host.run("postconf", "-c", B, "-e", "smtpd_relay_restrictions=reject")
    host.run("postfix", "-c", B, "reload")
    try:
        told = preflight(host, recipients=["x@hotmail.com"])
        assert told["accepts"]["ok"] is False
        assert "554 5.7.1" in told["accepts"]["detail"]
    finally:
        host.run("postconf", "-c", B, "-X", "smtpd_relay_restrictions")
        host.run("postfix", "-c", B, "reload")


@pytest.mark.parametrize("banner", ["$myhostname ESMTP", "a name for the outside ESMTP"])
def test_two_of_one_name_are_refused_because_postfix_would_bounce_the_loop(
    host: Sandbox, banner: str
) -> None:
    host.run("postconf", "-c", B, "-e", "myhostname=msn-a.relay.example", f"smtpd_banner={banner}")
    host.run("postfix", "-c", B, "reload")
    try:
        assert preflight(host)["names_differ"]["ok"] is False
    finally:
        host.run("postconf", "-c", B, "-e", "myhostname=msn-b.relay.example")
        host.run("postconf", "-c", B, "-X", "smtpd_banner")
        host.run("postfix", "-c", B, "reload")


def test_a_target_that_is_down_and_one_of_another_family_are_not_reached(host: Sandbox) -> None:
    host.run(PROGRAM, "peers", "add", "127.0.0.1:2599", "[::1]:2526", "127.0.0.125:25")
    try:
        assert "refused" in preflight(host, to={"address": "127.0.0.1", "port": 2599})["reaches"]["detail"]
        assert "IPv6" in preflight(host, to={"address": "::1", "port": 2526})["reaches"]["detail"]
        assert preflight(host, to={"address": "127.0.0.125", "port": 25})["not_itself"]["ok"] is False
    finally:
        host.run(PROGRAM, "peers", "remove", "127.0.0.1:2599", "[::1]:2526", "127.0.0.125:25")


@pytest.mark.parametrize("address", ["a b@c.dd", "a@b>\r\nDATA", "ä@b.cc", "x" * 400])
def test_an_address_that_could_be_more_than_one_is_refused(host: Sandbox, address: str) -> None:
    answer = ask(
        host, request("flush.preflight", args={"instance": "msn-a", "to": TO, "recipients": [address]})
    )
    assert answer.error[1] == "bad_request"


def test_a_log_that_is_not_known_and_a_role_that_is_none_are_refused(host: Sandbox) -> None:
    assert "is not known" in read(host, "flush.log", instance="no-such", role="source").error[2]
    assert "role must be" in read(host, "flush.log", instance="msn-a", role="x").error[2]
