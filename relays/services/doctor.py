"""Every precondition of a host, tried now, with what to do about those that do not hold."""

import hashlib
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.utils import timezone

from relays.agent.build import build
from relays.domain.freshness import fresh_for
from relays.domain.reading import InstanceFacts
from relays.models import Host
from relays.remote import flush, keys, relayctl, write
from relays.remote.errors import Incompatible, Incomplete, KeyChanged, Refused, RemoteError, Unreachable
from relays.remote.relayctl import Answer, Inventory, Snapshot
from relays.remote.ssh import Limits
from relays.services.collect import interval_s
from relays.services.doors import read_target, write_target

MAX_SKEW_S = 30
MAX_SHELL_START_S = 1.0
MIN_FREE_SHARE = 0.05
_LIMITS = Limits(wall_s=45)


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition. ok: True holds, False does not, None could not be told; remedy: what to do."""

    code: str
    ok: bool | None
    title: str
    detail: str
    remedy: str = ""


@dataclass(slots=True)
class _Seen:
    """What the host showed before the first error, if there was one."""

    error: RemoteError | None = None
    hello: Answer | None = None
    hello_s: float = 0.0
    inventory: Inventory | None = None
    snapshot: Snapshot | None = None


def examine(host: Host) -> list[Check]:
    """Try everything a poll needs, in order; works while the host is dead. Changes nothing."""
    seen = _look(host)
    return [
        *_way_in(host, seen),
        _relayctl(host, seen),
        _same_build(seen),
        _shell_start(seen),
        _clock(seen),
        _disk(seen),
        *_instances(seen),
        _write_door(host, seen),
        _flush(host, seen),
        _providers(host),
        _fresh(host),
    ]


@cache
def console_sha256() -> str:
    """Return the SHA-256 of the relayctl.pyz that this console builds."""
    return hashlib.sha256(build()).hexdigest()


def install_commands(*, ssh_address: str) -> list[str]:
    """Return what root runs to put relayctl on a host: the console itself has no way to.

    The last but one lists what would change, the last one changes it.
    """
    at_host = f"root@{shlex.quote(ssh_address)}"
    check = f"echo '{console_sha256()}  /root/relayctl.pyz' | sha256sum -c"
    install = f"python3 /root/relayctl.pyz install --read-key {shlex.quote(keys.read_public_key())}"
    return [
        "./run relayctl dist/relayctl.pyz",
        f"scp dist/relayctl.pyz {at_host}:/root/relayctl.pyz",
        f"ssh {at_host} {shlex.quote(check)}",
        f"ssh {at_host} {shlex.quote(install)}",
        f"ssh {at_host} {shlex.quote(install + ' --yes')}",
    ]


def _look(host: Host) -> _Seen:
    seen = _Seen()
    if not host.host_key:
        seen.error = Refused("No host key is pinned yet.")
        return seen
    target = read_target(host)
    try:
        relayctl.hello(target, _LIMITS)
        # The second one finds the connection kept: what is left is the host's own time to start.
        started = time.monotonic()
        seen.hello = relayctl.hello(target, _LIMITS)
        seen.hello_s = time.monotonic() - started
        seen.inventory = relayctl.inventory(target, _LIMITS)
        seen.snapshot = relayctl.snapshot(target, _LIMITS)
    except RemoteError as error:
        seen.error = error
    return seen


def _way_in(host: Host, seen: _Seen) -> Iterable[Check]:
    """Return reachable, key_pinned and log_in: a failure leaves what comes after it unknown."""
    where = f"{host.ssh_address} port {host.ssh_port}"
    failed = type(seen.error) if seen.hello is None else None
    reached = None if not host.host_key else failed is not Unreachable
    same_key = None if not reached else failed is not KeyChanged
    let_in = None if not same_key else failed is not Refused
    yield Check(
        "reachable",
        reached,
        "SSH answers",
        where if reached else str(seen.error),
        "" if reached else "Check the address, the port, the firewall between here and there, and sshd.",
    )
    yield Check(
        "key_pinned",
        False if not host.host_key else same_key,
        "The host key is the pinned one",
        _key_detail(host, seen),
        ""
        if same_key
        else "Compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host; "
        f"if it is the host's: manage.py relay accept-key {host.name}",
    )
    yield Check(
        "log_in",
        let_in,
        "The console's key is accepted",
        f"user {host.ssh_user}" if let_in else str(seen.error),
        "" if let_in else "Run on the host, as root: " + install_commands(ssh_address=host.ssh_address)[-1],
    )


def _key_detail(host: Host, seen: _Seen) -> str:
    if not host.host_key:
        return "No key is pinned."
    pinned = keys.fingerprint(host.host_key)
    if isinstance(seen.error, KeyChanged):
        return f"pinned {pinned}, offered {keys.fingerprint(seen.error.offered_key)}"
    return pinned


def _relayctl(host: Host, seen: _Seen) -> Check:
    title = "relayctl answers"
    if seen.hello is not None and seen.error is not None:
        return Check("relayctl", False, title, str(seen.error), "Run it on the host and read what it says.")
    if seen.hello is not None:
        header = seen.hello.header
        return Check("relayctl", True, title, f"version {header.relayctl}, Postfix {header.postfix or '?'}")
    ok = False if isinstance(seen.error, Incompatible | Incomplete) else None
    steps = "; ".join(install_commands(ssh_address=host.ssh_address))
    return Check("relayctl", ok, title, str(seen.error), f"Install it: {steps}")


def _same_build(seen: _Seen) -> Check:
    title = "relayctl is the console's build"
    if seen.hello is None:
        return Check("relayctl_build", None, title, "Not known: relayctl did not answer.")
    found, ours = seen.hello.header.sha256, console_sha256()
    if found == ours:
        return Check("relayctl_build", True, title, f"sha256 {found}")
    return Check(
        "relayctl_build",
        False,
        title,
        f"sha256 {found}, the console's is {ours}",
        "Install the console's relayctl over it, or update the console.",
    )


def _shell_start(seen: _Seen) -> Check:
    title = "The account's shell starts quickly"
    if seen.hello is None:
        return Check("shell_start", None, title, "Not known: relayctl did not answer.")
    return Check(
        "shell_start",
        seen.hello_s <= MAX_SHELL_START_S,
        title,
        f"An empty request takes {seen.hello_s * 1000:,.0f} ms.",
        ""
        if seen.hello_s <= MAX_SHELL_START_S
        else "Give the account the shell /bin/sh, and look for slow start files and a slow disk.",
    )


def _clock(seen: _Seen) -> Check:
    title = "The host's clock agrees with the console's"
    if seen.hello is None:
        return Check("clock", None, title, "Not known: relayctl did not answer.")
    skew = seen.hello.clock_skew_s
    return Check(
        "clock",
        abs(skew) <= MAX_SKEW_S,
        title,
        f"It is {abs(skew):,.1f} s {'ahead' if skew > 0 else 'behind'}.",
        ""
        if abs(skew) <= MAX_SKEW_S
        else "Set up time synchronisation (chrony or systemd-timesyncd) there, or here.",
    )


def _disk(seen: _Seen) -> Check:
    title = "The spools have room"
    if seen.snapshot is None or not seen.snapshot.host:
        return Check("disk", None, title, "Not known: no snapshot.")
    spools = seen.snapshot.host["spools"]
    full = [text for spool in spools for text in _shortages(spool)]
    return Check(
        "disk",
        not full,
        title,
        "; ".join(full) or ", ".join(spool["path"] for spool in spools),
        "Free space there: Postfix refuses mail when its spool is full." if full else "",
    )


def _shortages(spool: dict[str, Any]) -> Iterable[str]:
    for total, free, what in (("size_bytes", "free_bytes", "space"), ("inodes", "inodes_free", "inodes")):
        # Some file systems count no inodes and say 0.
        if spool[total] and spool[free] is not None and spool[free] < MIN_FREE_SHARE * spool[total]:
            yield f"{spool['path']} has {100 * spool[free] / spool[total]:.1f} % of its {what} left"


def _instances(seen: _Seen) -> Iterable[Check]:
    """Return what must hold for the instances, one check a rule, naming those that break it."""
    if seen.inventory is None:
        yield Check("instances", None, "Instances are found", "Not known: no inventory.")
        return
    found = seen.inventory.instances
    yield Check(
        "instances",
        bool(found),
        "Instances are found",
        ", ".join(sorted(i.name for i in found)) or "none",
        "" if found else "Is Postfix installed, and does /etc/postfix/main.cf exist?",
    )
    yield _listed(seen)
    yield _all(
        found, "running", "Each instance is running", lambda i: i.running is False, "postfix -c DIR start"
    )
    yield _all(
        found,
        "long_queue_ids",
        "Long queue ids are on",
        lambda i: not i.row.get("long_queue_ids"),
        "postconf -c DIR -e enable_long_queue_ids=yes, then reload: short ids are used again for other mail.",
    )
    yield _all(
        found,
        "logs",
        "The log of each instance is found",
        lambda i: not i.row.get("log"),
        "Set maillog_file in its main.cf, or let syslog write its syslog_name to a file.",
    )
    yield _readable(seen)
    yield _guard(seen)
    yield _distinct(found, "bind_unique", "No two instances share an address", lambda i: i.ips, _BIND_REMEDY)
    yield _distinct(
        found,
        "helo_distinct",
        "HELO names differ",
        lambda i: (i.helo_name,) if i.helo_name else (),
        _HELO_REMEDY,
    )


_LISTED_REMEDY = (
    "Add its directory to multi_instance_directories (or alternate_config_directories) in "
    "/etc/postfix/main.cf: postqueue -c refuses any other to a user that is not root."
)
_GUARD_REMEDY = (
    "Only root can count them: run relayctl's install again and see `systemctl status "
    "relay-fleet-guard.timer`; where systemd does not run it, have an init script start "
    "/usr/local/libexec/relay-fleet/relayctl.pyz guard --every 60"
)
_BIND_REMEDY = "Give each its own smtp_bind_address: providers judge the address."
_HELO_REMEDY = "Give each its own myhostname (or smtp_helo_name), and a matching PTR record."


def _write_door(host: Host, seen: _Seen) -> Check:
    """Tell whether the console could change this host; one that only lets it look is as good a host."""
    title = "The console may change the host"
    if seen.hello is None:
        return Check("write_door", None, title, "Not known: relayctl did not answer.")
    target = write_target(host)
    install = f"Install it with --write-key {shlex.quote(keys.write_public_key())} beside --read-key."
    try:
        header = relayctl.hello(target, _LIMITS).header
    except Refused as error:
        return Check("write_door", None, title, f"It may only look: {error}", install)
    except RemoteError as error:
        return Check("write_door", False, title, str(error), install)
    try:
        ready = write.check(target, _LIMITS)
    except RemoteError as error:
        return Check("write_door", False, title, str(error), install)
    problems = [f"{row.name}: {row.problem}" for row in ready.instances if row.problem]
    if ready.host.problem:
        problems.insert(0, ready.host.problem)
    if problems:
        return Check("write_door", False, title, "; ".join(problems), _WRITE_REMEDY)
    off = f"; switched off by its limits: {', '.join(ready.host.off)}" if ready.host.off else ""
    return Check(
        "write_door", True, title, f"user {write.USER}, as root by sudo, sha256 {header.sha256}{off}"
    )


def _flush(host: Host, seen: _Seen) -> Check:
    """Tell whether mail could be moved from each instance, what has drifted, and whether the guard looks."""
    title = "Mail can be moved from each instance"
    if seen.hello is None:
        return Check("flush", None, title, "Not known: relayctl did not answer.")
    try:
        status = flush.status(read_target(host), _LIMITS)
    except RemoteError as error:
        return Check("flush", None, title, f"Not known: {error}", _FLUSH_REMEDY)
    lacking = [f"{row.instance}: {row.problems[0]}" for row in status.instances if row.problems]
    if len(lacking) == len(status.instances):
        return Check("flush", None, title, "No instance is onboarded for it.", _FLUSH_REMEDY)
    if lacking:
        return Check("flush", False, title, "; ".join(lacking), _FLUSH_REMEDY)
    if status.guard_age_s is None or status.guard_age_s > _GUARD_WITHIN_S:
        return Check("flush", False, title, "No guard looks at redirects.", _FLUSH_REMEDY)
    return Check("flush", True, title, f"all; the guard looked {status.guard_age_s:.0f} s ago")


_FLUSH_REMEDY = 'On the host, as root: docs/hosts.md, "Onboarding instances for flushes".'
# As relayctl has it: without a guard that looked within this it puts no redirect on.
_GUARD_WITHIN_S = 60
_WRITE_REMEDY = 'Make it so on the host, as root: docs/relayctl.md, "The write path", says what it needs.'


def _helo_names(instance: InstanceFacts) -> tuple[str, ...]:
    return (instance.helo_name,) if instance.helo_name else ()


def _all(
    found: Iterable[InstanceFacts],
    code: str,
    title: str,
    is_bad: Callable[[InstanceFacts], bool],
    remedy: str,
) -> Check:
    bad = [f"{i.name} ({i.config_dir})" for i in found if is_bad(i)]
    return Check(code, not bad, title, f"Not so: {', '.join(bad)}" if bad else "all", remedy if bad else "")


def _listed(seen: _Seen) -> Check:
    title = "postqueue may be asked for each instance"
    if seen.snapshot is None:
        return Check("listed", None, title, "Not known: no snapshot.")
    bad = [
        f"{i.name} ({i.config_dir})"
        for i in seen.snapshot.instances
        if i.condition is not None and i.condition.code == "not_listed"
    ]
    detail = f"Not so: {', '.join(bad)}" if bad else "all"
    return Check("listed", not bad, title, detail, _LISTED_REMEDY if bad else "")


def _readable(seen: _Seen) -> Check:
    title = "Each queue can be read"
    if seen.snapshot is None:
        return Check("readable", None, title, "Not known: no snapshot.")
    bad = [
        f"{i.name}: {i.condition.code} ({i.condition.what}) {i.condition.detail}".strip()
        for i in seen.snapshot.instances
        if i.condition is not None and i.condition.code not in ("stopped", "not_listed")
    ]
    remedy = "docs/relayctl.md says what each means; authorized_mailq_users must admit the read user."
    return Check("readable", not bad, title, "; ".join(bad) or "all", remedy if bad else "")


def _guard(seen: _Seen) -> Check:
    title = "Corrupt messages are counted"
    read = [i for i in seen.snapshot.instances if i.was_read] if seen.snapshot else []
    if not read:
        return Check("guard", None, title, "Not known: no queue was read.")
    bad = [f"{i.name}: {i.corrupt_unread}" for i in read if i.corrupt is None]
    return Check("guard", not bad, title, "; ".join(bad) or "all", _GUARD_REMEDY if bad else "")


def _distinct(
    found: Iterable[InstanceFacts],
    code: str,
    title: str,
    values: Callable[[InstanceFacts], Iterable[str]],
    remedy: str,
) -> Check:
    owners: dict[str, list[str]] = {}
    for instance in found:
        for value in values(instance):
            owners.setdefault(value, []).append(instance.name)
    shared = [f"{value}: {', '.join(names)}" for value, names in owners.items() if len(names) > 1]
    return Check(code, not shared, title, "; ".join(shared) or "all differ", remedy if shared else "")


def _providers(host: Host) -> Check:
    title = "Each instance has a provider"
    lacking = host.instances.filter(removed_at=None, provider=None).values_list("name", flat=True)
    bad = ", ".join(lacking)
    remedy = f"manage.py relay match {host.name} INSTANCE PROVIDER, or rename it after a provider."
    return Check("provider", not bad, title, bad or "all", remedy if bad else "")


def _fresh(host: Host) -> Check:
    title = "The figures are fresh"
    if host.last_success_at is None:
        return Check("fresh", False, title, "It was never polled with success.", _FRESH_REMEDY)
    age = timezone.now() - host.last_success_at
    fresh = age <= fresh_for(interval_s(host))
    return Check("fresh", fresh, title, f"{age.total_seconds():,.0f} s old", "" if fresh else _FRESH_REMEDY)


_FRESH_REMEDY = "Do the checks above hold? Then see that worker and scheduler run, and that it is enabled."
