"""The verb `inventory`: a host's instances and what of their settings the console needs."""

from __future__ import annotations

import glob
import os
import re
import socket
from typing import Any

from relays.agent import postfix, system
from relays.agent.deadline import Deadline
from relays.agent.protocol import Answer, condition, refuse_unknown
from relays.domain.text import printable

LIMITS = (
    "bounce_queue_lifetime",
    "default_destination_concurrency_limit",
    "default_destination_recipient_limit",
    "default_process_limit",
    "maximal_backoff_time",
    "maximal_queue_lifetime",
    "message_size_limit",
    "minimal_backoff_time",
    "qmgr_message_active_limit",
    "qmgr_message_recipient_limit",
    "queue_minfree",
    "queue_run_delay",
    "smtp_destination_concurrency_limit",
    "smtp_destination_rate_delay",
    "smtp_transport_rate_delay",
)
_TEXTS = (
    "multi_instance_name",
    "multi_instance_group",
    "myhostname",
    "syslog_name",
    "queue_directory",
    "data_directory",
    "transport_maps",
    "relayhost",
)
_OTHERS = (
    "multi_instance_enable",
    "enable_long_queue_ids",
    "inet_interfaces",
    "maillog_file",
    "smtp_bind_address",
    "smtp_bind_address6",
    "smtp_helo_name",
)
_MAX_TEXT = 1000

# rsyslog's old style, which Debian's own rule has: "mail.*  -/var/log/mail.log".
_SYSLOG_RULE = re.compile(r"^[^#\n]*\bmail\.\*\S*\s+-?(/\S+)", re.MULTILINE)


def answer(args: dict[str, Any], _deadline: Deadline) -> Answer:
    """Return a row for each instance; raise BadRequest for any argument."""
    refuse_unknown(args, set())
    return Answer(map(row, postfix.places()), {})


def row(place: postfix.Place) -> dict[str, Any]:
    """Return an instance's row; what cannot be read is empty, with the condition `misconfigured`."""
    conditions = []
    try:
        settings = postfix.parameters(place.config_dir, [*_TEXTS, *_OTHERS, *LIMITS])
        overrides = postfix.service_overrides(place.config_dir)
    except postfix.Misconfigured as error:
        settings, overrides = dict.fromkeys([*_TEXTS, *_OTHERS, *LIMITS], ""), {}
        conditions.append(condition("misconfigured", "instance", str(error)))
    texts = {key: printable(settings[key], _MAX_TEXT) for key in _TEXTS}
    return {
        "kind": "instance",
        "name": place.name,
        "config_dir": place.config_dir,
        "running": postfix.is_running(settings["queue_directory"]) if settings["queue_directory"] else None,
        **texts,
        "multi_instance_enable": settings["multi_instance_enable"] == "yes",
        "helo_name": printable(_of_smtp(settings, overrides, "smtp_helo_name"), _MAX_TEXT),
        "bind_addresses": _bound(settings, overrides, "smtp_bind_address", socket.AF_INET),
        "bind_addresses6": _bound(settings, overrides, "smtp_bind_address6", socket.AF_INET6),
        "inet_interfaces": [printable(word, 100) for word in _words(settings["inet_interfaces"])[:50]],
        "log": log_of(settings["maillog_file"], settings["syslog_name"]),
        "long_queue_ids": settings["enable_long_queue_ids"] == "yes",
        "limits": {key: printable(settings[key], 100) for key in LIMITS if settings[key]},
        "conditions": conditions,
    }


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", value) if word]


def bound_by_smtp(
    settings: dict[str, str], overrides: dict[tuple[str, str], str], parameter: str
) -> list[str]:
    """Return the address that the service `smtp` sends from, as a list of one or none."""
    family = socket.AF_INET6 if parameter.endswith("6") else socket.AF_INET
    address = _of_smtp(settings, overrides, parameter).strip("[]")
    return [address] if _is_address(address, family) else []


def _of_smtp(settings: dict[str, str], overrides: dict[tuple[str, str], str], parameter: str) -> str:
    """Return a setting as the service `smtp` has it, which delivers unless a transport says otherwise."""
    return overrides.get(("smtp", parameter), settings[parameter])


def _bound(
    settings: dict[str, str], overrides: dict[tuple[str, str], str], parameter: str, family: int
) -> list[str]:
    """Return the addresses an instance sends from: of the service `smtp` first, then of other services."""
    others = [value for (_, name), value in sorted(overrides.items()) if name == parameter]
    found: list[str] = []
    for value in [_of_smtp(settings, overrides, parameter), *others]:
        address = value.strip("[]")
        if address not in found and _is_address(address, family):
            found.append(address)
    return found[:50]


def _is_address(value: str, family: int) -> bool:
    try:
        socket.inet_pton(family, value)
    except (OSError, ValueError):
        return False
    return True


def log_of(maillog_file: str, syslog_name: str) -> dict[str, str] | None:
    """Tell where an instance logs: its own file, else what syslog does with mail, else unknown."""
    if maillog_file:
        return {"kind": "file", "path": maillog_file} if not maillog_file.startswith("/dev/") else None
    for path in _syslog_files(syslog_name):
        if os.path.isfile(path):
            return {"kind": "file", "path": path}
    if os.path.exists("/run/systemd/journal/socket"):
        return {"kind": "journal"}
    return None


def _syslog_files(syslog_name: str) -> list[str]:
    own = [f"/var/log/{syslog_name}.log"] if syslog_name and "/" not in syslog_name else []
    rules: list[str] = []
    for path in ["/etc/rsyslog.conf", *sorted(glob.glob("/etc/rsyslog.d/*.conf"))]:
        rules += _SYSLOG_RULE.findall(system.read_text(path) or "")
    return [*own, *rules, "/var/log/mail.log", "/var/log/maillog"]
