"""What can go wrong on the way to a host, each with a real sshd where one can do it."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from relays.remote import keys, ssh
from relays.remote.errors import Incomplete, KeyChanged, Refused, RemoteError, Unreachable
from relays.remote.ssh import Limits, Target
from tests.far_side import Sshd, free_port, make_key

SOON = Limits(connect_s=1, handshake_s=1, idle_s=1, wall_s=3)
# For what comes after a log-in, which a busy machine may keep waiting.
ONCE_IN = Limits(connect_s=10, handshake_s=10, idle_s=2, wall_s=12)


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections on a port and let `serve` have each."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                    serve(accepted[-1])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for sock in accepted:
        sock.close()


def seconds(call: Callable[[], object], error: type[RemoteError], match: str = ".") -> float:
    """Return how long a call took to raise what it must."""
    started = time.monotonic()
    with pytest.raises(error, match=match):
        call()
    return time.monotonic() - started


def nowhere(sshd: Sshd, port: int) -> Target:
    return replace(sshd.target(), port=port)


def test_a_command_that_ends_before_it_has_read_the_request_is_heard(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\necho 'sh: relayctl: not found' >&2\nexit 127\n")
    output = ssh.request(sshd.target(), b"x" * 20_000_000)
    assert (output.status, output.stderr) == (127, b"sh: relayctl: not found\n")


def test_a_request_reaches_the_forced_command_and_both_streams_come_back(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\ncat; echo; echo problem >&2; echo half\nprintf rest; exit 7\n")
    output = ssh.request(sshd.target(), b"the payload")
    assert output.lines == [b"the payload", b"half"]
    assert (output.rest, output.stderr, output.status) == (b"rest", b"problem\n", 7)


def test_connections_are_kept(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\ncat >/dev/null; echo $SSH_CONNECTION\n")
    lines = [ssh.request(sshd.target(), b"").lines for _ in range(3)]
    assert lines[0] == lines[1] == lines[2]


def test_a_connection_waits_for_no_acknowledgement_and_exchanges_keys_cheaply(
    tmp_path: Path,
) -> None:
    server = Sshd(tmp_path, options="LogLevel DEBUG1")
    server.start()
    try:
        ssh.request(server.target(), b"")
        sock = ssh._pool._kept[server.target()][1].sock
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert "kex: algorithm: curve25519-sha256" in (tmp_path / "sshd.log").read_text()
    finally:
        ssh.close_all()
        server.stop()


def test_a_kept_connection_that_died_is_replaced_without_a_word(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\ncat >/dev/null; echo $PPID; echo here\n")
    session = int(ssh.request(sshd.target(), b"").lines[0])
    ssh._pool._kept[sshd.target()][1].sock.shutdown(socket.SHUT_RDWR)
    output = ssh.request(sshd.target(), b"")
    assert output.lines[1] == b"here"
    assert int(output.lines[0]) != session


def test_two_requests_at_once_do_not_wait_for_each_other(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\ncat >/dev/null; sleep 1; echo done\n")
    started = time.monotonic()
    threads = [threading.Thread(target=ssh.request, args=(sshd.target(), b"")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 2.8
    assert len(ssh._pool._kept) == 1


def test_another_key_is_told_and_nothing_is_sent(sshd: Sshd) -> None:
    pinned = sshd.target()
    seen = sshd.folder / "seen"
    sshd.says(f"#!/bin/sh\ncat > {seen}\n")
    sshd.change_host_key()
    with pytest.raises(KeyChanged, match="another ssh-ed25519 key") as raised:
        ssh.request(pinned, b"secret")
    assert raised.value.offered_key == sshd.host_key() != pinned.host_key
    assert not seen.exists()
    assert "Accepted publickey" not in (sshd.folder / "sshd.log").read_text()


def test_a_kept_connection_does_not_outlive_a_changed_pin(sshd: Sshd) -> None:
    ssh.request(sshd.target(), b"")
    make_key(sshd.folder / "other")
    other = " ".join((sshd.folder / "other.pub").read_text().split()[:2])
    with pytest.raises(KeyChanged):
        ssh.request(replace(sshd.target(), host_key=other), b"")


def test_a_host_that_has_no_key_of_the_pinned_type_has_changed_its_key(sshd: Sshd) -> None:
    with pytest.raises(KeyChanged, match="ssh-ed25519") as raised:
        ssh.request(replace(sshd.target(), host_key="ecdsa-sha2-nistp256 AAAA"), b"")
    assert raised.value.offered_key == sshd.host_key()


def test_probe_shows_the_key_without_logging_in(sshd: Sshd) -> None:
    offered = ssh.probe("127.0.0.1", sshd.port)
    assert keys.fingerprint(offered) == keys.fingerprint(sshd.host_key())
    assert "Accepted" not in (sshd.folder / "sshd.log").read_text()


def test_a_key_that_is_not_accepted_is_refused(sshd: Sshd) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(Refused, match="does not accept the console's key"):
        ssh.request(sshd.target(), b"")


def test_an_unknown_user_is_refused(sshd: Sshd) -> None:
    with pytest.raises(Refused, match="user nobody-here"):
        ssh.request(replace(sshd.target(), user="nobody-here"), b"")


def test_a_missing_read_key_is_told_as_our_own_fault(sshd: Sshd) -> None:
    with pytest.raises(Refused, match="console's own key"):
        ssh.request(replace(sshd.target(), key_path=sshd.folder / "none"), b"")


def test_a_closed_port_is_unreachable(sshd: Sshd) -> None:
    assert seconds(lambda: ssh.request(nowhere(sshd, free_port()), b""), Unreachable, "refused") < 10


def test_a_name_that_does_not_resolve_is_unreachable(sshd: Sshd) -> None:
    target = replace(sshd.target(), address="no-such-host.invalid")
    seconds(lambda: ssh.request(target, b""), Unreachable, "no-such-host.invalid")


def test_a_full_backlog_is_unreachable_within_the_connect_deadline(sshd: Sshd) -> None:
    # A port whose queue of connections is full drops what comes, as a packet filter does.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        target = nowhere(sshd, deaf.getsockname()[1])
        assert seconds(lambda: ssh.request(target, b"", SOON), Unreachable, "no answer within 1 s") < 10
        for filler in fillers:
            filler.close()


def test_a_silent_listener_is_unreachable_within_the_handshake_deadline(sshd: Sshd) -> None:
    with listener(lambda sock: None) as port:
        target = nowhere(sshd, port)
        assert seconds(lambda: ssh.request(target, b"", SOON), Unreachable, "does not speak SSH") < 10


def test_a_banner_that_drips_is_unreachable_within_the_handshake_deadline(sshd: Sshd) -> None:
    def drip(sock: socket.socket) -> None:
        for byte in b"SSH-2.0-" + b"x" * 100:
            sock.send(bytes([byte]))
            time.sleep(0.3)

    with listener(drip) as port:
        target = nowhere(sshd, port)
        assert seconds(lambda: ssh.request(target, b"", SOON), Unreachable, "does not speak SSH") < 10


def test_another_protocol_is_unreachable(sshd: Sshd) -> None:
    def greet(sock: socket.socket) -> None:
        sock.sendall(b"220 mail.example ESMTP\r\n" * 200)
        sock.shutdown(socket.SHUT_RDWR)

    with listener(greet) as port:
        seconds(lambda: ssh.request(nowhere(sshd, port), b"", SOON), Unreachable)


def test_a_command_that_says_nothing_is_unreachable_after_the_idle_deadline(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\nexec sleep 60\n")
    seconds(lambda: ssh.request(sshd.target(), b"", ONCE_IN), Unreachable, "sent no byte for 2 s")


def test_an_answer_that_stops_is_incomplete_after_the_idle_deadline(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\necho begun\nexec sleep 60\n")
    seconds(lambda: ssh.request(sshd.target(), b"", ONCE_IN), Incomplete, "sent no byte for 2 s")


def test_one_byte_at_a_time_is_cut_at_the_wall_deadline(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\nwhile :; do printf x; sleep 0.3; done\n")
    limits = replace(ONCE_IN, wall_s=4)
    taken = seconds(
        lambda: ssh.request(sshd.target(), b"", limits), Incomplete, "not ended its answer within 4 s"
    )
    assert taken > 3.5


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 1000000000", "bytes"),
        ("head -c 1000000000 /dev/zero | tr '\\0' x", "a line of more than 65,536 bytes"),
        ("head -c 1000000000 /dev/zero >&2", "more than 8,388,608 bytes"),
        ("yes | head -c 4000000", "more than 200,000 rows"),
    ],
    ids=["1 GB of lines", "1 GB on one line", "1 GB on stderr", "two million rows"],
)
def test_a_flood_is_cut_at_its_cap(sshd: Sshd, script: str, match: str) -> None:
    sshd.says(f"#!/bin/sh\n{script}\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert seconds(lambda: ssh.request(sshd.target(), b""), Incomplete, match) < 50
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 64


def test_much_on_both_streams_at_once_does_not_hang(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\nyes 0123456 | head -c 3145728 >&2 &\nyes abcdefghijklmno | head -c 3145728\nwait\n")
    output = ssh.request(sshd.target(), b"")
    assert len(output.lines) == 196_608
    assert len(output.stderr) == 4096


def test_after_any_failure_the_next_request_works(sshd: Sshd) -> None:
    sshd.says("#!/bin/sh\nhead -c 1000000000 /dev/zero\n")
    with pytest.raises(Incomplete):
        ssh.request(sshd.target(), b"")
    assert sshd.target() not in ssh._pool._kept
    sshd.says("#!/bin/sh\necho fine\n")
    assert ssh.request(sshd.target(), b"").lines == [b"fine"]


def test_a_server_without_room_for_a_session_refuses(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Sshd(tmp_path_factory.mktemp("no-sessions"), options="MaxSessions 0")
    server.start()
    try:
        seconds(lambda: ssh.request(server.target(), b"", ONCE_IN), Refused, "refuses to open a session")
    finally:
        server.stop()


def test_what_a_login_banner_says_is_no_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("banner")
    (folder / "banner").write_text("Authorised use only.\n" * 50)
    server = Sshd(folder, options=f"Banner {folder}/banner")
    server.says("#!/bin/sh\necho answer\n")
    server.start()
    try:
        assert ssh.request(server.target(), b"").lines == [b"answer"]
    finally:
        ssh.close_all()
        server.stop()


def test_the_pool_is_bounded(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh._Pool, "MOST", 1)
    other = replace(sshd.target(), address="127.0.0.1", port=sshd.port, key_path=sshd.key_path.resolve())
    ssh.request(sshd.target(), b"")
    ssh.request(replace(other, address="localhost"), b"")
    assert [target.address for target in ssh._pool._kept] == ["localhost"]
