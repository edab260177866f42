"""What an onboarded instance has for flushes: the service `drain`, and a redirect map that comes first.

The map is a texthash table: read as it is, so that no compiled copy of it can be missing or old. Postfix
reads it when trivial-rewrite(8) starts, so that a change of it takes a reload:
docs/decisions/0110-redirect-map.md.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from relays.agent import children, inventory, postfix

SERVICE = "drain"
DIRECTORY = "/var/lib/relay-fleet/redirects"
_TYPE = "texthash"
_EMPTY_SINCE = "# The redirect of a flush; made and emptied by relayctl. Empty: no redirect is on.\n"
_PLACE = r"\[(?:ipv6:)?([0-9a-fA-F:.]+)\]:(\d{1,5})"
# A service that there is none of: qmgr(8) defers what is for it, without a try. By retry: or error: smtpd(8)
# would refuse new mail for it, as it does by those names alone.
PAUSED_SERVICE = "drain-paused"
_LINE = re.compile(rf"\A(\S+)\s+({SERVICE}|{PAUSED_SERVICE}):{_PLACE}\Z")
_SPLIT = re.compile(r"[\s,]+")


class Facts(NamedTuple):
    """An instance's settings as far as flushes need them.

    drain: that service's own, {} for none; tls: the smtp_tls_security_level that it shall have.
    """

    settings: dict[str, str]
    drain: dict[str, str]
    tls: str
    bind_addresses: list[str]
    bind_addresses6: list[str]


class Redirect(NamedTuple):
    """Where the mail of these recipient domains goes; "*" stands for every domain that has no line.

    paused: it goes nowhere meanwhile. It waits here, and nobody is asked to take it.
    """

    domains: list[str]
    address: str
    port: int
    paused: bool = False


def map_path(instance: str) -> str:
    """Return where an instance's redirect map lies."""
    return os.path.join(DIRECTORY, instance)


def map_name(instance: str) -> str:
    """Return the map as transport_maps names it."""
    return f"{_TYPE}:{map_path(instance)}"


def facts(config_dir: str) -> Facts:
    """Ask Postfix for an instance's settings. Raises postfix.Misconfigured."""
    names = [
        "syslog_name",
        "transport_maps",
        "enable_long_queue_ids",
        "fast_flush_domains",
        "queue_directory",
        "myhostname",
        "inet_interfaces",
        "inet_protocols",
        "smtp_tls_security_level",
        "smtp_bind_address",
        "smtp_bind_address6",
        "smtp_helo_name",
        "maximal_queue_lifetime",
        "message_size_limit",
    ]
    settings = postfix.parameters(config_dir, names)
    overrides = postfix.service_overrides(config_dir)
    drain = {name: value for (service, name), value in overrides.items() if service == SERVICE}
    return Facts(
        settings,
        drain,
        _tls_level(settings["smtp_tls_security_level"], overrides.get(("smtp", "smtp_tls_security_level"))),
        inventory.bound_by_smtp(settings, overrides, "smtp_bind_address"),
        inventory.bound_by_smtp(settings, overrides, "smtp_bind_address6"),
    )


def problems(instance: str, config_dir: str, found: Facts) -> list[str]:
    """Say what an instance lacks for a flush; nothing where it is onboarded as onboard left it."""
    lacking = []
    maps = [word for word in _SPLIT.split(found.settings["transport_maps"]) if word]
    if map_name(instance) not in maps:
        lacking.append(f"transport_maps does not name {map_name(instance)}")
    elif maps[0] != map_name(instance):
        lacking.append(f"transport_maps begins with {maps[0]}, which goes before a redirect")
    if not os.path.isfile(map_path(instance)):
        lacking.append(f"{map_path(instance)} is missing: Postfix refuses mail without it")
    lacking += _drain_problems(config_dir, found)
    if found.settings["enable_long_queue_ids"] != "yes":
        lacking.append("enable_long_queue_ids is not yes: a queue id may come back as another message's")
    return lacking


def _drain_problems(config_dir: str, found: Facts) -> list[str]:
    if not has_drain(config_dir):
        return [f"master.cf has no service {SERVICE}"]
    wanted = drain_settings(found)
    return [
        f"the service {SERVICE} has {name}={found.drain.get(name, '')!r} instead of {value!r}"
        for name, value in wanted.items()
        if found.drain.get(name) != value
    ]


def drain_settings(found: Facts) -> dict[str, str]:
    """Return what the service `drain` must have: of the instance's own address, and no bounce from it."""
    wanted = {"soft_bounce": "yes", "syslog_name": f"{found.settings['syslog_name']}/{SERVICE}"}
    wanted["smtp_tls_security_level"] = found.tls
    if found.bind_addresses:
        wanted["smtp_bind_address"] = found.bind_addresses[0]
    if found.bind_addresses6:
        wanted["smtp_bind_address6"] = found.bind_addresses6[0]
    return wanted


def _tls_level(of_instance: str, of_smtp: str | None) -> str:
    """Return how the drain encrypts: as the service smtp does, and wherever it is offered at the least."""
    if of_smtp is not None:
        return of_smtp
    return "may" if of_instance in ("", "none") else of_instance


def has_drain(config_dir: str) -> bool:
    """Tell whether master.cf has the service. Raises postfix.Misconfigured."""
    return bool(master_line(config_dir, SERVICE))


def master_line(config_dir: str, service: str) -> list[str]:
    """Return the fields of a unix service's line in master.cf, [] for none. Raises postfix.Misconfigured."""
    try:
        postconf = children.find_program("postconf")
        result, text = children.output([postconf, "-fMc", config_dir, f"{service}/unix"], timeout_s=10)
    except (children.NotInstalled, children.TimedOut, OSError) as error:
        raise postfix.Misconfigured(str(error)) from None
    if result.status != 0:
        raise postfix.Misconfigured(result.stderr.strip() or f"postconf ended with status {result.status}")
    return text.split()


def fast_flush(found: Facts) -> bool:
    """Tell whether Postfix keeps which messages wait for which domain, whatever the domain: flush(8)."""
    return "static:all" in _SPLIT.split(found.settings["fast_flush_domains"])


def map_text(redirect: Redirect | None) -> str:
    """Return the content of a redirect map."""
    if redirect is None:
        return _EMPTY_SINCE
    # smtp(8), "SMTP DESTINATION SYNTAX": an IPv6 address must be formatted as [ipv6:address].
    place = f"[{'ipv6:' if ':' in redirect.address else ''}{redirect.address}]:{redirect.port}"
    to = f"{PAUSED_SERVICE if redirect.paused else SERVICE}:{place}"
    return _EMPTY_SINCE + "".join(f"{domain} {to}\n" for domain in redirect.domains)


def parse_map(text: str) -> Redirect | None:
    """Return the redirect that a map makes, None for none. Raises ValueError for what is not relayctl's."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = [_LINE.match(line) for line in lines]
    targets = {match.group(2, 3, 4) for match in found if match}
    if None in found or len(targets) > 1:
        raise ValueError("it has lines that relayctl does not write")
    if not lines:
        return None
    ((service, address, port),) = targets
    paused = service == PAUSED_SERVICE
    return Redirect([match[1] for match in found if match], address, int(port), paused)
