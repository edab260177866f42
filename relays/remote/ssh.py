"""SSH to relay hosts: kept connections, pinned keys, a deadline and a cap on everything.

The only importer of paramiko. What it knows is a Target and bytes; relayctl.py makes sense of them.
"""

import base64
import functools
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from relays.remote.dialling import dial
from relays.remote.errors import Incomplete, KeyChanged, Refused, Unreachable

# paramiko's own thread logs tracebacks of what is raised here anyway.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_DIGESTS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_CURVE25519 = "curve25519-sha256@libssh.org"
_CHUNK_BYTES = 65_536
_STDERR_BYTES = 4_096
_KEEPALIVE_S = 30
_IDLE_WAKE_S = 10
# How often a request that waits for output looks at the clock, and at the other stream.
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where a relay host is, whom to log in as, and the one key it may offer ("ssh-ed25519 AAAA…")."""

    address: str
    port: int
    user: str
    host_key: str
    key_path: Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take; wall_s covers connecting, too. docs/relayctl.md publishes the caps."""

    connect_s: float = 10
    handshake_s: float = 15
    idle_s: float = 15
    wall_s: float = 60
    total_bytes: int = 8 * 1024 * 1024
    line_bytes: int = 64 * 1024
    rows: int = 200_000


Heard = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request under way. deadline: by our monotonic clock; heard: is given each line as it comes."""

    payload: bytes
    limits: Limits
    deadline: float
    heard: Heard | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a request brought: whole lines, what follows the last newline, and how it ended.

    sent_at and first_byte_at are our clock (seconds since 1970); status is None where none was sent.
    """

    lines: list[bytes]
    rest: bytes
    stderr: bytes
    status: int | None
    sent_at: float
    first_byte_at: float


def request(
    target: Target, payload: bytes, limits: Limits | None = None, *, heard: Heard | None = None
) -> Output:
    """Send payload to the target's forced command and return what it wrote until it ended.

    heard: is given each line as it comes.

    Raises Unreachable, KeyChanged, Refused and Incomplete. Only for requests that may run twice: a kept
    connection that turns out to be dead is replaced once.
    """
    limits = limits or Limits()
    deadline = time.monotonic() + limits.wall_s
    ask = _Ask(payload, limits, deadline, heard)
    kept = _pool.take(target)
    if kept is not None:
        try:
            return _run(target, kept, ask)
        except _StaleConnection:
            pass
    transport = _log_in(target, limits, deadline)
    try:
        return _run(target, transport, ask)
    except _StaleConnection as error:
        raise Unreachable(f"{_where(target)} closed the connection before it answered.") from error


def request_once(target: Target, payload: bytes, limits: Limits | None = None) -> Output:
    """Send payload as request() does, over a connection of its own and never a second time.

    So Refused and KeyChanged mean that nothing was sent; after Unreachable and Incomplete it may have been.
    """
    limits = limits or Limits()
    deadline = time.monotonic() + limits.wall_s
    transport = _log_in(target, limits, deadline)
    try:
        with _watch.over(transport, deadline):
            return _exchange(target, transport, _Ask(payload, limits, deadline))
    except _StaleConnection as error:
        raise Unreachable(f"{_where(target)} closed the connection before it answered.") from error
    finally:
        _drop(transport)


def probe(address: str, port: int, limits: Limits | None = None) -> str:
    """Return the host key that is offered, "ssh-ed25519 AAAA…", without logging in.

    Raises Unreachable, and Refused where what listens there speaks no SSH that we can.
    """
    limits = limits or Limits()
    deadline = time.monotonic() + limits.wall_s
    transport = _open_transport(address, port, None, limits, deadline)
    try:
        return _offered_key(transport)
    finally:
        _drop(transport)


def close_all() -> None:
    """Close every kept connection."""
    _pool.close()


class _StaleConnection(Exception):
    """A connection ended before the first byte of an answer."""


class _Pool:
    """Kept connections, at most one a target; a connection in use is not in here."""

    MOST = 1_000
    IDLE_S = 600

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Target, tuple[float, paramiko.Transport]] = OrderedDict()

    def take(self, target: Target) -> paramiko.Transport | None:
        with self._lock:
            _, transport = self._kept.pop(target, (0.0, None))
        if transport is not None and not transport.is_active():
            _drop(transport)
            return None
        return transport

    def keep(self, target: Target, transport: paramiko.Transport) -> None:
        now = time.monotonic()
        with self._lock:
            # A second request to one host at the same time has opened its own connection: one is enough.
            surplus = [self._kept.pop(target)[1]] if target in self._kept else []
            self._kept[target] = (now, transport)
            while len(self._kept) > self.MOST or next(iter(self._kept.values()))[0] < now - self.IDLE_S:
                surplus.append(self._kept.popitem(last=False)[1][1])
        for old in surplus:
            _drop(old)

    def close(self) -> None:
        with self._lock:
            transports = [transport for _, transport in self._kept.values()]
            self._kept.clear()
        for transport in transports:
            _drop(transport)


_pool = _Pool()


def _log_in(target: Target, limits: Limits, deadline: float) -> paramiko.Transport:
    """Return a new, authenticated connection to the pinned key."""
    transport = _open_transport(target.address, target.port, target.host_key, limits, deadline)
    try:
        _check_pin(target, _offered_key(transport))
        _authenticate(target, transport, min(deadline, time.monotonic() + limits.handshake_s))
    except BaseException:
        _drop(transport)
        raise
    transport.set_keepalive(_KEEPALIVE_S)
    # By itself its thread wakes ten times a second: with 200 kept connections, a tenth of a processor.
    transport.sock.settimeout(_IDLE_WAKE_S)
    return transport


def _open_transport(
    address: str, port: int, pinned: str | None, limits: Limits, deadline: float
) -> paramiko.Transport:
    """Return a connection whose keys are exchanged; with a pinned key, only its type is negotiated."""
    where = f"{address} port {port}"
    transport = paramiko.Transport(_dial(address, port, limits, deadline))
    options = transport.get_security_options()
    options.kex = (_CURVE25519, *(name for name in options.kex if name != _CURVE25519))
    options.ciphers = _CIPHERS
    options.digests = _DIGESTS
    if pinned is not None:
        options.key_types = _signature_types(pinned.split()[0])
    negotiated = threading.Event()
    # The event form, since the other one waits by the wall clock and in steps of 0.1 s.
    transport.start_client(event=negotiated)
    handshake_s = min(limits.handshake_s, _left(deadline))
    if not negotiated.wait(handshake_s):
        _drop(transport)
        raise Unreachable(f"{where} accepts connections but does not speak SSH within {handshake_s:.0f} s.")
    if not transport.is_active():
        error = transport.get_exception()
        _drop(transport)
        _raise_negotiation(address, port, pinned, error, limits)
    return transport


class _ReadAhead(socket.socket):
    """A socket that reads what has come in one go: paramiko asks for each packet in two parts.

    An answer is some ten packets that arrive together. A system call for each part, and the wait for the
    interpreter's lock after it, took most of a request's time.
    """

    _ahead = b""
    _at = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return at most size bytes, from what was read ahead as long as there is some."""
        if self._at == len(self._ahead):
            self._ahead, self._at = super().recv(_CHUNK_BYTES, flags), 0
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data


def _dial(address: str, port: int, limits: Limits, deadline: float) -> socket.socket:
    try:
        sock = dial(address, port, timeout_s=min(limits.connect_s, _left(deadline)))
    except TimeoutError as error:
        raise Unreachable(f"{address} port {port}: no answer within {limits.connect_s:.0f} s.") from error
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{address} port {port}: {getattr(error, 'strerror', None) or error}.") from error
    # Or each request waits 40 ms for the host's delayed acknowledgement of the one before.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _ReadAhead(sock.family, sock.type, sock.proto, fileno=sock.detach())


def _raise_negotiation(
    address: str, port: int, pinned: str | None, error: BaseException | None, limits: Limits
) -> None:
    where = f"{address} port {port}"
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        if pinned is not None and "host key" in str(error):
            offered = probe(address, port, limits)
            raise KeyChanged(_key_changed(where, pinned, offered), offered)
        raise Refused(f"{where}: {error}.")
    raise Unreachable(f"{where} ended the key exchange: {error or 'connection closed'}.")


def _signature_types(key_type: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)


def _offered_key(transport: paramiko.Transport) -> str:
    key = transport.get_remote_server_key()
    return f"{key.get_name()} {base64.b64encode(key.asbytes()).decode()}"


def _check_pin(target: Target, offered: str) -> None:
    if offered != target.host_key:
        raise KeyChanged(_key_changed(_where(target), target.host_key, offered), offered)


def _key_changed(where: str, pinned: str, offered: str) -> str:
    new, old = offered.partition(" ")[0], pinned.partition(" ")[0]
    return f"{where} offers another {new} key than the pinned {old} one."


def _authenticate(target: Target, transport: paramiko.Transport, deadline: float) -> None:
    answered = threading.Event()
    key = _private_key(target.key_path)
    try:
        transport.auth_publickey(target.user, key, event=answered)
    except paramiko.SSHException as error:
        raise Unreachable(f"{_where(target)} closed the connection before log-in.") from error
    if not answered.wait(_left(deadline)):
        raise Unreachable(f"{_where(target)} did not answer the log-in in time.")
    if transport.is_authenticated():
        return
    reason = transport.get_exception()
    if transport.is_active() or isinstance(reason, paramiko.AuthenticationException):
        raise Refused(f"{_where(target)} does not accept the console's key for user {target.user}.")
    raise Unreachable(f"{_where(target)} closed the connection during log-in: {reason}.")


def _private_key(path: Path) -> paramiko.PKey:
    try:
        return _load_key(path, path.stat().st_mtime_ns)
    except (OSError, paramiko.SSHException) as error:
        raise Refused(f"The console's own key {path} cannot be used: {error}.") from error


@functools.lru_cache(maxsize=4)
def _load_key(path: Path, changed_ns: int) -> paramiko.PKey:
    # changed_ns: a key that was replaced is read again.
    return paramiko.Ed25519Key.from_private_key_file(str(path))


def _run(target: Target, transport: paramiko.Transport, ask: _Ask) -> Output:
    """Run one request on a connection, which is kept if all went well and dropped if not."""
    try:
        with _watch.over(transport, ask.deadline):
            output = _exchange(target, transport, ask)
    except BaseException:
        _drop(transport)
        raise
    _pool.keep(target, transport)
    return output


class _Watch:
    """Closes the connection of a request that is past its deadline: paramiko writes and waits without end.

    One thread for all requests, which sleeps while there is none; a timer each would be a thread each.
    """

    EVERY_S = 0.5

    def __init__(self) -> None:
        self._deadlines: dict[paramiko.Transport, float] = {}
        self._watched = threading.Event()
        self._lock = threading.Lock()
        self._started = False

    @contextmanager
    def over(self, transport: paramiko.Transport, deadline: float) -> Iterator[None]:
        """Watch a connection meanwhile."""
        self._deadlines[transport] = deadline
        self._watched.set()
        self._start_once()
        try:
            yield
        finally:
            del self._deadlines[transport]

    def _start_once(self) -> None:
        with self._lock:
            if not self._started:
                threading.Thread(target=self._run, name="ssh-watch", daemon=True).start()
                self._started = True

    def _run(self) -> None:
        while self._watched.wait():
            # Before looking, so that a request that begins now is seen in the next round at the latest.
            self._watched.clear()
            for transport, deadline in list(self._deadlines.items()):
                self._watched.set()
                if deadline <= time.monotonic():
                    _drop(transport)
            time.sleep(self.EVERY_S)


_watch = _Watch()


def _exchange(target: Target, transport: paramiko.Transport, ask: _Ask) -> Output:
    sent_at = time.time()
    try:
        channel = transport.open_session(timeout=_left(ask.deadline))
        channel.settimeout(_left(ask.deadline))
        _start_command(transport, channel)
        _send(transport, channel, ask.payload)
    except paramiko.ChannelException as error:
        raise Refused(f"{_where(target)} refuses to open a session: {error.text}.") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if _left(ask.deadline) <= 0:
            raise Unreachable(f"{_where(target)}: no answer within {ask.limits.wall_s:.0f} s.") from error
        raise _StaleConnection from error
    reader = _Reader(transport, channel, ask, _where(target))
    try:
        return reader.read(sent_at)
    finally:
        channel.close()


def _send(transport: paramiko.Transport, channel: paramiko.Channel, payload: bytes) -> None:
    """Send the request, or as much of it as the command reads: one that is not there ends sooner."""
    try:
        channel.sendall(payload)
        channel.shutdown_write()
    except OSError:
        if not (channel.closed and transport.is_active()):
            raise


def _start_command(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """Ask for the forced command, as exec_command does, but without waiting: a refusal closes the channel."""
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)
    # The forced command ignores this name; without one, the host's shell says what is missing.
    message.add_string("relayctl")
    transport._send_user_message(message)  # type: ignore[attr-defined]


class _Reader:
    """Drains both streams of a channel together, within the caps."""

    def __init__(
        self, transport: paramiko.Transport, channel: paramiko.Channel, ask: _Ask, where: str
    ) -> None:
        self._transport = transport
        self._channel = channel
        self._limits = ask.limits
        self._deadline = ask.deadline
        self._where = where
        self._heard = ask.heard
        self._lines: list[bytes] = []
        self._rest = b""
        self._stderr = b""
        self._total = 0
        self._first_byte_at: float | None = None

    def read(self, sent_at: float) -> Output:
        self._drain()
        if self._first_byte_at is None:
            if not self._transport.is_active():
                raise _StaleConnection
            self._first_byte_at = time.time()
        return Output(
            lines=self._lines,
            rest=self._rest,
            stderr=self._stderr,
            status=self._status(),
            sent_at=sent_at,
            first_byte_at=self._first_byte_at,
        )

    def _drain(self) -> None:
        channel = self._channel
        channel.settimeout(_LOOK_S)
        last_byte = time.monotonic()
        data: bytes | None = None
        while data != b"":
            try:
                # Empty at the end of both streams.
                data = channel.recv(_CHUNK_BYTES)
                self._take(data)
            except TimeoutError:
                data = None
            while channel.recv_stderr_ready():
                self._take_stderr(channel.recv_stderr(_CHUNK_BYTES))
                last_byte = time.monotonic()
            # After the end, too, which is the deadline's doing if that has passed.
            self._check_clock(last_byte)
            if data:
                last_byte = time.monotonic()

    def _check_clock(self, last_byte: float) -> None:
        now = time.monotonic()
        if now >= self._deadline:
            self._stop(f"has not ended its answer within {self._limits.wall_s:.0f} s")
        if now - last_byte >= self._limits.idle_s:
            self._stop(f"sent no byte for {self._limits.idle_s:.0f} s")

    def _stop(self, what: str) -> None:
        error = Unreachable if self._first_byte_at is None else Incomplete
        raise error(f"{self._where} {what}; {self._total:,} bytes had come.")

    def _take(self, data: bytes) -> None:
        self._count(data)
        if self._first_byte_at is None:
            self._first_byte_at = time.time()
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += lines
        if (
            max(map(len, lines), default=0) > self._limits.line_bytes
            or len(self._rest) > self._limits.line_bytes
        ):
            raise Incomplete(f"{self._where} sent a line of more than {self._limits.line_bytes:,} bytes.")
        if len(self._lines) > self._limits.rows:
            raise Incomplete(f"{self._where} sent more than {self._limits.rows:,} rows.")
        if self._heard is not None:
            for line in lines:
                self._heard(line)

    def _take_stderr(self, data: bytes) -> None:
        self._count(data)
        self._stderr += data[: _STDERR_BYTES - len(self._stderr)]

    def _count(self, data: bytes) -> None:
        self._total += len(data)
        if self._total > self._limits.total_bytes:
            raise Incomplete(f"{self._where} sent more than {self._limits.total_bytes:,} bytes.")

    def _status(self) -> int | None:
        # Not recv_exit_status: it waits for ever on a host that sends none.
        self._channel.status_event.wait(min(2.0, _left(self._deadline)))
        status = self._channel.exit_status
        return None if status < 0 else status


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _where(target: Target) -> str:
    return f"{target.address} port {target.port}"


def _drop(transport: paramiko.Transport) -> None:
    # First, so that paramiko's thread wakes from its reading at once.
    with suppress(OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)
    transport.close()
    # close() leaves the socket of a connection that had already ended.
    transport.sock.close()
