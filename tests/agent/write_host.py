"""A host whose write door is asked the way sshd asks it: as the write user, through sudo."""

import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

from relays.agent.build import build
from tests.agent.postfix_host import make_default, make_instance, send, start, wait_for_deferred
from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_install import KEY

PYZ = "/root/relayctl.pyz"
PROGRAM = "/usr/local/libexec/relay-fleet/relayctl.pyz"
JOURNAL = "/var/log/relay-fleet/journal.jsonl"
STATE = "/var/lib/relay-fleet"
LIMITS = "/etc/relay-fleet/limits.json"
A, B = "/etc/postfix-msn-a", "/etc/postfix-msn-b"
ADDRESS = "198.51.100.7"

_numbers = count(1)


class Answered:
    """What the write door said: its exit status, and the lines of its reply."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status = done.returncode
        self.stderr = done.stderr.decode()
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def row(self) -> dict[str, Any]:
        """The only row of a complete reply."""
        assert self.lines[0]["ok"] is True, self.lines
        (row,) = self.lines[1:-1]
        return row

    @property
    def error(self) -> tuple[int, str, str]:
        """How it was refused: exit status, code and message."""
        assert self.lines, self.stderr
        error = self.lines[0]["error"]
        return self.status, error["code"], error["message"]


def new_id() -> str:
    return f"request-{next(_numbers):06}"


def make(host: Sandbox) -> None:
    """Install both doors, with msn-a running and three messages deferred there, and msn-b stopped."""
    host.run("ssh-keygen", "-A")
    for name, port in (("msn-a", 2525), ("msn-b", 2526)):
        make_instance(host, name, port, extra="fast_flush_domains = static:all\n")
    make_default(host, A, B)
    start(host, A)
    send(host, A, "a@hotmail.com", "b@hotmail.com")
    send(host, A, "c@hotmail.com")
    send(host, A, "d@outlook.com")
    wait_for_deferred(host, A, 3)
    install(host)


def install(host: Sandbox, program: bytes | None = None) -> None:
    host.write(PYZ, program or build(), 0o755)
    host.run(PYZ, "install", "--read-key", KEY, "--write-key", KEY, "--yes")


def request(verb: str, *, req_id: str = "", **fields: Any) -> bytes:
    """Return a request; `args` and the envelope's other keys as given, None left out."""
    given = {key: value for key, value in fields.items() if value is not None}
    return json.dumps({"v": 1, "req_id": req_id or new_id(), "verb": verb, **given}).encode()


def command(host: Sandbox) -> list[str]:
    """Return the command line that sshd would run for the write user."""
    door = ["setpriv", "--reuid=relay-write", "--regid=relay-write", "--clear-groups", "--"]
    return host.command(
        ["env", f"SSH_CONNECTION={ADDRESS} 40000 198.51.100.10 22", *door, "sudo", "-n", PROGRAM]
    )


def ask(host: Sandbox, sent: bytes) -> Answered:
    """Ask the write door."""
    done = subprocess.run(command(host), input=sent, capture_output=True, check=False, timeout=90)
    return Answered(done)


def ask_reader(host: Sandbox, sent: bytes) -> Answered:
    """Ask as the read user."""
    door = ["setpriv", "--reuid=relay-read", "--regid=relay-read", "--init-groups", "--", PROGRAM]
    return Answered(host.run(*door, stdin=sent, check=False))


def run(host: Sandbox, *, fence: int = 1, domain: str | None = None, **more: Any) -> Answered:
    """Ask msn-a for a queue run."""
    args = {"instance": "msn-a", "domain": domain}
    return ask(host, request("queue.run", **{"op_id": "op-1", "fence": fence, "args": args, **more}))


def journal(host: Sandbox) -> list[dict[str, Any]]:
    """Return the entries of the host's journal."""
    path = host.inside(JOURNAL)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(host: Sandbox, req_id: str) -> list[str]:
    """Return what the journal has of a request, in order."""
    return [entry["event"] for entry in journal(host) if entry["req_id"] == req_id]


def entry(host: Sandbox, req_id: str) -> Path:
    return host.inside(f"{STATE}/ops/{req_id}.json")


def forget_pace(host: Sandbox) -> None:
    """Let the next run follow at once."""
    host.inside(f"{STATE}/instances/msn-a/pace.json").unlink(missing_ok=True)
