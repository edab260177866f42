"""One suite for every way to publish, on real name servers: all is guarded, told and never half done."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dns.domain.records import Change, RecordSet, difference, is_newer
from dns.domain.weights import Rendering, read_back, render
from dns.lookup import BadAnswer, Lame, Reading, Server, read_everywhere, read_name
from dns.publishing import Moved, Publisher
from dns.publishing.powerdns import PowerDns, WrongApiKey
from dns.publishing.rfc2136 import Key, Rfc2136, UnknownKey, Unproven, WrongAlgorithm, WrongClock, WrongSecret
from relays.remote.errors import Refused, RemoteError, Unreachable
from tests.dns_servers import ALGORITHM, API_KEY, KEY, SECRET, ZONE, Bind, Knot, NameServer, PowerDnsServer

MSN, GMAIL = f"msn.{ZONE}", f"gmail.{ZONE}"
OLD, NEW = "192.0.2.11", "192.0.2.12"
_KEY = Key(KEY, ALGORITHM, SECRET)
_SERVERS: dict[str, type[NameServer]] = {"bind": Bind, "knot": Knot, "powerdns": PowerDnsServer}


class _Primary:
    def __init__(self, server: NameServer, publisher: Publisher) -> None:
        self.server, self.publisher = server, publisher

    @property
    def where(self) -> Server:
        return Server("127.0.0.1", self.server.port)


def _rfc2136(server: NameServer, key: Key = _KEY) -> Rfc2136:
    return Rfc2136(Server("127.0.0.1", server.port), ZONE, key, within_s=20)


@pytest.fixture(scope="module", params=["bind", "knot", "powerdns", "powerdns-api"])
def primary(request: pytest.FixtureRequest) -> Iterator[_Primary]:
    kind, _, api = request.param.partition("-")
    with _SERVERS[kind]() as server:
        if api:
            assert isinstance(server, PowerDnsServer)
            yield _Primary(server, PowerDns(server.api_url, API_KEY, ZONE, within_s=20))
        else:
            yield _Primary(server, _rfc2136(server))


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the relay names empty behind each test."""
    yield
    if "primary" in request.fixturenames:
        at: _Primary = request.getfixturevalue("primary")
        for name in (MSN, GMAIL):
            if change := difference(at.publisher.read(name).ours(name), []):
                at.publisher.write(change)


def _records(rendering: Rendering = Rendering.MX, **weights: int) -> tuple[RecordSet, ...]:
    by_address = {OLD: weights.get("old", 0), NEW: weights.get("new", 0)}
    return render(MSN, by_address, rendering=rendering, ttl=600).records


def _change(at: _Primary, wanted: tuple[RecordSet, ...]) -> Change:
    return difference(at.publisher.read(MSN).ours(MSN), wanted)


def _apply(at: _Primary, wanted: tuple[RecordSet, ...]) -> Reading:
    at.publisher.write(_change(at, wanted))
    return at.publisher.read(MSN)


def test_weights_are_published_and_read_back_from_the_server(primary: _Primary) -> None:
    before = primary.publisher.read(MSN)
    after = _apply(primary, _records(old=5, new=1))
    assert after.ours(MSN) == _records(old=5, new=1)
    assert is_newer(after.serial, before.serial)
    seen = read_name(primary.where, zone=ZONE, name=MSN)
    assert seen.records == after.records
    assert read_back(MSN, seen.records).parts == {OLD: 5, NEW: 1}


def test_another_rendering_takes_the_place_of_the_one_before_in_one_update(primary: _Primary) -> None:
    before = _apply(primary, _records(old=5, new=1))
    after = _apply(primary, _records(Rendering.EQUAL, old=5, new=1))
    assert after.ours(MSN) == (RecordSet(MSN, "A", 600, (OLD, NEW)),)
    assert (after.serial - before.serial) % 2**32 == 1


def test_what_is_served_already_is_no_change(primary: _Primary) -> None:
    served = _apply(primary, _records(old=5, new=1))
    assert not _change(primary, _records(old=5, new=1))
    assert primary.publisher.read(MSN).serial == served.serial


def test_a_stale_read_changes_nothing(primary: _Primary) -> None:
    _apply(primary, _records(old=5, new=1))
    stale = _change(primary, _records(old=1, new=1))
    theirs = _apply(primary, _records(old=3, new=1))
    with pytest.raises(Moved, match="nothing was changed"):
        primary.publisher.write(stale)
    assert primary.publisher.read(MSN) == theirs


def test_a_name_that_somebody_made_meanwhile_is_left_alone(primary: _Primary) -> None:
    stale = _change(primary, _records(old=1, new=1))
    theirs = _apply(primary, _records(Rendering.EQUAL, old=1))
    wanted = replace(stale, absent=((MSN, "A"), *stale.absent))
    with pytest.raises(Moved):
        primary.publisher.write(wanted)
    assert primary.publisher.read(MSN) == theirs


def test_rolling_back_is_an_update_that_expects_what_was_written(primary: _Primary) -> None:
    before = _apply(primary, _records(old=5, new=1))
    change = _change(primary, _records(old=1, new=1))
    primary.publisher.write(change)
    back = difference(_records(old=1, new=1), before.ours(MSN))
    primary.publisher.write(back)
    assert primary.publisher.read(MSN).ours(MSN) == before.ours(MSN)
    _apply(primary, _records(old=2, new=1))
    with pytest.raises(Moved):
        primary.publisher.write(back)


def test_two_writers_lose_nothing(primary: _Primary) -> None:
    """Each adds its 40 addresses one by one, reading again where the other was faster."""
    # The API knows no prerequisites: there it is the operation's lock that keeps writers apart.
    one_at_a_time = threading.Lock() if isinstance(primary.publisher, PowerDns) else None
    failures: list[Exception] = []

    def add(address: str) -> None:
        for _ in range(200):
            now = primary.publisher.read(MSN).ours(MSN)
            has = {value for item in now for value in item.values}
            wanted = [RecordSet.of(MSN, "A", 60, {*has, address})]
            change = difference(now, wanted)
            try:
                primary.publisher.write(change)
            except Moved:
                continue
            return
        raise AssertionError(f"{address} was never written")

    def write(net: int) -> None:
        try:
            for number in range(40):
                if one_at_a_time:
                    with one_at_a_time:
                        add(f"198.51.100.{net + number}")
                else:
                    add(f"198.51.100.{net + number}")
        except Exception as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    writers = [threading.Thread(target=write, args=[net]) for net in (1, 101)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert not failures
    (served,) = primary.publisher.read(MSN).ours(MSN)
    assert len(served.values) == 80


def test_check_tells_that_an_update_would_be_taken(primary: _Primary) -> None:
    before = primary.publisher.read(MSN).serial
    primary.publisher.check(MSN)
    if not isinstance(primary.publisher, PowerDns):
        assert primary.publisher.read(MSN).serial == before


def _refusal(at: Rfc2136, key: Key) -> RemoteError:
    other = replace(at, key=key)
    change = difference([], _records(old=1))
    before = at.read(MSN)
    with pytest.raises(RemoteError) as told:
        other.write(change)
    assert at.read(MSN) == before
    return told.value


def test_each_fault_of_a_key_has_its_own_message(primary: _Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    if not isinstance(primary.publisher, Rfc2136):
        return
    at, real = primary.publisher, time.time
    found = [
        _refusal(at, replace(_KEY, secret="d3JvbmcgYnV0IGFzIGxvbmcgYXMgdGhlIHJpZ2h0IG9uZSE=")),
        _refusal(at, replace(_KEY, name="another-key")),
        _refusal(at, replace(_KEY, algorithm="hmac-sha512")),
    ]
    with monkeypatch.context() as an_hour_late:
        an_hour_late.setattr("dns.message.time.time", lambda: real() - 3600)
        change = difference([], _records(old=1))
        with pytest.raises(RemoteError) as told:
            at.write(change)
    found.append(told.value)
    kinds = [type(error) for error in found]
    if isinstance(primary.server, PowerDnsServer):
        # It signs no refusal, so it never says which: only the algorithm can be tried.
        assert kinds == [Unproven, Unproven, WrongAlgorithm, Unproven]
    else:
        assert kinds == [WrongSecret, UnknownKey, WrongAlgorithm, WrongClock]
    assert "hmac-sha256, not hmac-sha512" in str(found[2])
    assert at.read(MSN).ours(MSN) == ()


def test_a_wrong_api_key_is_told(primary: _Primary) -> None:
    if isinstance(primary.publisher, PowerDns):
        with pytest.raises(WrongApiKey):
            replace(primary.publisher, api_key="no").read(MSN)


def test_a_zone_that_is_not_there_is_told(primary: _Primary) -> None:
    other = replace(primary.publisher, zone="other.example")  # type: ignore[type-var]
    with pytest.raises(RemoteError) as told:
        other.read("msn.other.example")
    assert "other.example" in str(told.value) or "refuses" in str(told.value)
    change = difference([], [RecordSet.of("msn.other.example", "A", 60, [OLD])])
    with pytest.raises((Refused, RemoteError)):
        other.write(change)


def test_a_server_that_died_is_told_and_comes_back_with_old_or_new(primary: _Primary) -> None:
    served = _apply(primary, _records(old=5, new=1))
    change = _change(primary, _records(old=1, new=1))
    primary.server.stop()
    with pytest.raises(Unreachable):
        primary.publisher.write(change)
    with pytest.raises(Unreachable):
        primary.publisher.read(MSN)
    primary.server.start()
    assert primary.publisher.read(MSN).ours(MSN) == served.ours(MSN)
    primary.publisher.write(change)
    primary.server.stop()
    primary.server.start()
    assert primary.publisher.read(MSN).ours(MSN) == _records(old=1, new=1)


@pytest.mark.parametrize(
    "record",
    [
        RecordSet.of(MSN, "A", 600, ["192.0.2.300"]),
        RecordSet.of(MSN, "AAAA", 600, ["fe80::1%eth0"]),
        RecordSet.of(MSN, "LUA", 60, ["A \"pickwrandom({{1, '192.0.2.11'}})\""]),
        RecordSet.of(f"{'x' * 64}.{MSN}", "A", 600, [OLD]),
    ],
)
def test_what_is_no_record_is_refused_before_anything_is_sent(record: RecordSet) -> None:
    publisher = Rfc2136(Server("127.0.0.1", 1), ZONE, _KEY)
    with pytest.raises(Refused, match="none was sent"):
        publisher.write(difference([], [record]))


@pytest.mark.parametrize("server", ["bind", "knot", "powerdns"])
def test_a_serial_wraps(server: str) -> None:
    with _SERVERS[server](serial=2**32 - 1) as started:
        at = _Primary(started, _rfc2136(started))
        after = _apply(at, _records(old=5, new=1))
        assert is_newer(after.serial, 2**32 - 1)
        assert after.serial < 100


def test_a_name_that_the_key_may_not_write_is_refused() -> None:
    with Bind() as server:
        publisher = _rfc2136(server)
        change = difference([], [RecordSet.of(f"www.{ZONE}", "A", 60, [OLD])])
        with pytest.raises(Refused, match=r"refuses updates of smtp\.example\.org with the key fleet-key"):
            publisher.write(change)
        with pytest.raises(Refused):
            publisher.check(f"www.{ZONE}")
        publisher.check(MSN)
        stale = Server("127.0.0.1", server.port)
        with Knot() as other:
            lame = read_everywhere([stale, Server("127.0.0.1", other.port)], zone=f"x.{ZONE}", name=MSN)
            assert all(isinstance(answer, Lame) for answer in lame.values())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unreachable),
        (b"\x00\x40short", Unreachable),
        (b"\x00\x0c\x00\x00\x86\x00\x00\x00\x00\x00\x00\x00\x00\x00", BadAnswer),  # another question's answer
    ],
)
def test_an_answer_that_is_no_answer_is_told(answer: bytes, error: type[Exception]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(error):
            read_name(Server("127.0.0.1", listener.getsockname()[1]), zone=ZONE, name=MSN, within_s=5)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["headers", "body", "body without a length"],
)
def test_an_api_that_answers_byte_by_byte_is_left_in_time(head: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link, contextlib.suppress(OSError):
                link.recv(4096)
                link.sendall(head)
                while True:
                    link.sendall(b"1")
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        api = PowerDns(f"http://127.0.0.1:{listener.getsockname()[1]}", API_KEY, ZONE, within_s=1)
        began = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer"):
            api.read(MSN)
        assert time.monotonic() - began < 4
