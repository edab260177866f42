"""relayctl fuzzed on a host with real Postfix instances, while strace writes down whatever is executed.

Both doors are asked, as sshd and sudo would let the console in. What relayctl itself runs must be one of few
command lines, by absolute path and with a clean environment; what those run, one of Postfix's own.
"""

import base64
import json
import random
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agent.postfix_host import send, start, wait_for_deferred, wait_for_long_ids
from tests.agent.sandbox import Sandbox
from tests.agent.write_host import LIMITS, PROGRAM, STATE, A, B, ask_reader, make, request
from tests.hostile_requests import CANARY, nearly_right_request, random_request

# Whole command lines and environments in hexadecimal, and whose child a process is.
STRACE = (
    *("strace", "-f", "-q", "--seccomp-bpf", "-xx", "-v", "-s", "131072"),
    *("-e", "trace=execve,execveat,fork,vfork,clone,clone3", "-e", "signal=none"),
)
_LOOP = Path(__file__).with_name("relayctl_in_a_loop.py")
_DIRECTORY = r"/etc/postfix(-msn-[ab])?"
_QUEUE_ID = r"[0-9A-Za-z]{6,31}"
_DOMAIN = r"(?!-)[a-z0-9.-]+"
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}
# What relayctl may execute: each line is a whole command line, its arguments one space apart.
_MAY_RUN = [
    r"/usr/sbin/postconf -dh (mail_version|config_directory)",
    rf"/usr/sbin/postconf -xc {_DIRECTORY}( [a-z0-9_]+)+",
    rf"/usr/sbin/postconf -xPc {_DIRECTORY}",
    rf"/usr/sbin/postconf -fMc {_DIRECTORY} (drain|drain-paused|smtp)/unix",
    rf"/usr/sbin/postconf -c {_DIRECTORY} -[nX] smtp_transport_rate_delay",
    rf"/usr/sbin/postconf -c {_DIRECTORY} -e smtp_transport_rate_delay=[0-9]+s",
    r"/usr/sbin/postmulti -l",
    rf"/usr/sbin/postqueue -c {_DIRECTORY} -[jf]",
    rf"/usr/sbin/postqueue -c {_DIRECTORY} -s {_DOMAIN}",
    rf"/usr/sbin/postqueue -c {_DIRECTORY} -i {_QUEUE_ID}",
    rf"/usr/sbin/postsuper -c {_DIRECTORY} -h - incoming deferred",
    rf"/usr/sbin/postsuper -c {_DIRECTORY} -[Hd] - hold",
    rf"/usr/sbin/postsuper -c {_DIRECTORY} -[rf] -( deferred)? hold",
    rf"/usr/sbin/postcat -c {_DIRECTORY} -[hb] -q {_QUEUE_ID}",
    rf"/usr/sbin/postmap -c {_DIRECTORY} -s texthash:{STATE}/redirects/[a-z0-9.-]+",
    rf"/usr/sbin/postfix -c {_DIRECTORY} reload",
    r"/usr/bin/journalctl --quiet --no-pager --output=export --output-fields=[A-Z_,]+ "
    r"(--after-cursor=[0-9a-z=;-]+|--since=@[0-9]+) SYSLOG_FACILITY=2",
    r"/usr/bin/journalctl --no-pager --quiet --output=short-iso --facility=mail( --(since|until)=@[0-9]+)*",
]
# What those run in their turn: nothing of a request stands there but the directory of a known instance.
_MAY_FOLLOW = {
    "/usr/sbin/postmulti": [
        rf"/usr/sbin/postconf -xc {_DIRECTORY} queue_directory data_directory multi_instance_name "
        r"multi_instance_group multi_instance_enable",
    ],
    "/usr/sbin/postfix": [
        r"/usr/lib/postfix/sbin/postfix-script reload",
        r"/usr/lib/postfix/sbin/master -t",
        r"/usr/sbin/postconf -dh config_directory",
        r"/usr/sbin/postconf -c /etc/postfix -h multi_instance_directories",
        r"/usr/sbin/postlog -t postfix-msn-[ab]/postfix-script -p info refreshing the Postfix mail system",
        r"/usr/sbin/postsuper( active)?",
        r"(/usr)?/bin/sed (s/,/ /|1q pid/master\.pid)",
    ],
}


@dataclass
class Found:
    """What a batch showed: replies by code, command lines by program, and what is wrong."""

    codes: Counter[str] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def make_host(host: Sandbox) -> None:
    """Make a host whose doors are open as wide as root can open them."""
    make(host)
    # Where no file is the log and there is a journal, that is read.
    host.run("postconf", "-c", B, "-X", "maillog_file")
    host.write("/run/systemd/journal/socket", "")
    start(host, B)
    host.run(PROGRAM, "onboard", "--yes")
    host.run(PROGRAM, "peers", "add", "msn-b=127.0.0.1:2526")
    wait_for_long_ids(host, A)
    # Messages of before it have short ids, which may not be deleted.
    host.run("postsuper", "-c", A, "-d", "ALL")
    widest = {"delete": True, "expire": True, "redirects_in_an_hour": 3600, "flush_retries_in_5_min": 10_000}
    widest |= {"bodies": True, "rate_changes_in_an_hour": 3600}
    host.write(LIMITS, json.dumps(widest))


def fuzz(host: Sandbox, door: str, count: int, seed: str) -> Found:
    """Ask one door that many times under strace."""
    dice = random.Random(f"{seed} {door}")
    for _ in range(10):
        send(host, A, "a@hotmail.com", "b@outlook.com")
    wait_for_deferred(host, A, 10)
    host.run(PROGRAM, "guard")
    messages = _messages(host)
    requests = [
        random_request(dice) if dice.random() < 0.3 else nearly_right_request(dice, door, messages)
        for _ in range(count)
    ]
    told, trace = _traced(host, door, requests)
    found = Found(codes=Counter(code for _, code in told))
    for (status, code), sent in zip(told, requests, strict=True):
        if code.startswith("incomplete") or code == "internal" or not 0 <= status < 99:
            found.wrong.append(f"{door}: {code}, status {status}: {sent[:300]!r}")
    found.programs = Counter(ran.path for ran in executed(trace) if ran.is_relayctls)
    found.wrong += [f"{door}: {what[:1000]}" for what in unexpected(trace)]
    if host.inside(CANARY).exists():
        found.wrong.append(f"{door}: something made {CANARY}")
    return found


def _messages(host: Sandbox) -> list[Any]:
    rows = ask_reader(host, request("queue.pick", args={"instance": "msn-a", "most": 1_000})).lines[1:-1]
    return [item for row in rows for item in row["items"]][:50]


def _traced(host: Sandbox, door: str, requests: list[bytes]) -> tuple[list[tuple[int, str]], str]:
    """Return what became of each request, and strace's own words."""
    folder = "/run/traced"
    host.run("mkdir", "-p", folder)
    # Entries of 30 days are kept, 50,000 at most.
    host.run("find", f"{STATE}/ops", "-type", "f", "-delete")
    host.run("chmod", "1777", folder)
    sent = json.dumps([base64.b64encode(request).decode() for request in requests])
    host.write(f"{folder}/requests", sent)
    host.write(f"{folder}/loop.py", _LOOP.read_bytes())
    with suppress(FileNotFoundError):
        host.inside(f"{folder}/told").unlink()
    with host.unmeasured():
        done = host.run(
            *STRACE, "-o", f"{folder}/trace", "/usr/bin/python3", "-I", f"{folder}/loop.py",
            PROGRAM, door, f"{folder}/requests", f"{folder}/told",
            check=False, timeout_s=60 + 3 * len(requests),
        )  # fmt: skip
    if done.returncode != 0:
        # A container that forbids ptrace(2) ends here, and must not pass for one in which nothing ran.
        raise AssertionError(f"strace ended with {done.returncode}: {done.stderr.decode()[:2000]}")
    return json.loads(host.inside(f"{folder}/told").read_text()), host.inside(f"{folder}/trace").read_text()


def unexpected(trace: str) -> list[str]:
    """Return what was executed and may not be: of relayctl's own commands, and of what those run."""
    return [f"{what}: {ran}" for ran in executed(trace) if (what := _what_is_wrong(ran))]


def _what_is_wrong(ran: "Execution") -> str:
    command = " ".join((ran.path, *ran.argv[1:]))
    if not ran.is_relayctls:
        may = _MAY_FOLLOW.get(ran.above[-1][0], [])
        return "" if any(re.fullmatch(pattern, command) for pattern in may) else "follows from what it runs"
    is_plain = ran.argv[:1] == [ran.path] and not any(" " in argument for argument in ran.argv)
    if not is_plain or not any(re.fullmatch(pattern, command) for pattern in _MAY_RUN):
        return "is not among what relayctl may run"
    return "" if ran.environment == CLEAN else "is given more than a clean environment"


# --- What strace wrote ------------------------------------------------------------------------------------


@dataclass
class _Life:
    """A process; its number may be another one's later. ran: what it executed."""

    parent: "_Life | None" = None
    is_over: bool = False
    ran: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Execution:
    """A program that was executed, or tried. above: what led to it, the nearest first."""

    path: str
    argv: list[str]
    environment: dict[str, str]
    above: list[list[str]]

    @property
    def is_relayctls(self) -> bool:
        """Whether relayctl itself ran it."""
        return not self.above


_LINE = re.compile(r"(\d+) +(.*)")
_BORN = re.compile(r"(?:<\.\.\. )?(?:v?fork|clone3?)\b.*= (\d+)\Z")
_EXECUTED = re.compile(r"execve(?:at)?\(([^,]*), \[([^]]*)\], \[([^]]*)\]")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?!\.\.\.)')


def executed(trace: str) -> list[Execution]:
    """Read what `strace -f -q -xx -v` wrote: all executions after the first, which is the loop's own."""
    lives: dict[str, _Life] = {}
    seen: list[tuple[_Life, int, str, dict[str, str]]] = []
    for line in trace.splitlines():
        found = _LINE.fullmatch(line)
        assert found, line
        number, text = found.groups()
        if number not in lives or lives[number].is_over:
            lives[number] = _Life()
        life = lives[number]
        if text.startswith("+++"):
            life.is_over = True
        elif born := _BORN.fullmatch(text):
            _adopt(lives, born[1], life)
        elif text.startswith("execve"):
            path, argv, environment = _read(text)
            seen.append((life, len(life.ran), path, environment))
            life.ran.append(argv)
    (loop, *_), *others = seen
    return [
        Execution(path, life.ran[nth], environment, _above(life, nth, loop))
        for life, nth, path, environment in others
    ]


def _adopt(lives: dict[str, _Life], number: str, parent: _Life) -> None:
    """Note whose child this is: it may have run, and even have ended, before strace tells of its birth."""
    if number not in lives or lives[number].parent is not None:
        lives[number] = _Life()
    lives[number].parent = parent


def _read(text: str) -> tuple[str, list[str], dict[str, str]]:
    found = _EXECUTED.match(text)
    assert found, text[:300]
    path, argv, environment = (
        [bytes.fromhex(one.replace("\\x", "")).decode("utf-8", "replace") for one in _STRING.findall(part)]
        for part in found.groups()
    )
    # What strace cut short is missing, and would make a command line look shorter than it is.
    assert '"...' not in text, text[:300]
    return path[0], argv, dict(pair.partition("=")[::2] for pair in environment)


def _above(life: _Life, nth: int, loop: _Life) -> list[list[str]]:
    """Return what its process ran before, and what those above it ran, up to relayctl."""
    above = life.ran[:nth][::-1]
    while life is not loop:
        # A process of which strace saw no birth is nobody's that may run anything.
        life = life.parent or _Life(parent=loop, ran=[["of unknown birth"]])
        above += life.ran[::-1] if life is not loop else []
    return above
