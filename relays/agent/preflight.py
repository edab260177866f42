"""The verb `flush.preflight`: whether mail of an instance could go on to a peer, tried over the real path.

Nothing is sent: the peer is asked as far as RCPT, from the address that the drain will come from, and no
message follows.
"""

from __future__ import annotations

import os
import smtplib
from typing import Any

from relays.agent import drain, lease, peers, postfix
from relays.agent.drain import Facts
from relays.agent.peers import Peer
from relays.agent.protocol import BadRequest, Refused
from relays.domain.text import printable

MAX_RECIPIENTS = 50
_WITHIN_S = 10.0
_MAX_ADDRESS = 320
_MIN_FREE_BYTES = 16 << 20
# postconf(5), smtp_tls_security_level: at these no mail goes to a server without STARTTLS. dane is not among
# them: for an address in brackets, which has no TLSA record, it is may.
_INSISTS = ("encrypt", "dane-only", "fingerprint", "verify", "secure")


def rows(place: postfix.Place, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each check, and one of what the peer can; raise BadRequest and Refused."""
    recipients = _recipients(args.get("recipients", []))
    sender = _address(args.get("sender", ""), "sender")
    peer = peers.find(args.get("to"))
    try:
        found = drain.facts(place.config_dir)
        lacking = drain.problems(place.name, place.config_dir, found)
    except postfix.Misconfigured as error:
        raise Refused(f"misconfigured: {error}") from None
    told = [
        *_here(place, found, lacking),
        _check("not_itself", not _is_own(found, peer), f"{peer} is an address of this instance itself",
               "choose another target"),
    ]  # fmt: skip
    if all(check["ok"] for check in told if check["check"] in ("bound", "not_itself")):
        told += _over_there(found, peer, sender, recipients)
    return told


def _here(place: postfix.Place, found: Facts, lacking: list[str]) -> list[dict[str, Any]]:
    current, guarded = lease.described(place.name), lease.published()
    is_guarded = guarded is not None and guarded["age_s"] <= lease.MAX_GUARD_AGE_S
    space = os.statvfs(found.settings["queue_directory"])
    free = space.f_bavail * space.f_frsize
    return [
        _check("onboarded", not lacking, "; ".join(lacking), "root runs `relayctl.pyz onboard` on the host"),
        _check("bound", bool(found.bind_addresses or found.bind_addresses6),
               "the instance sends from no address of its own", "set smtp_bind_address for its service smtp"),
        _check("not_redirected", current["to"] is None and current["op_id"] is None,
               f"a redirect to {current['to']} is on", "give it back first"),
        _check("guarded", is_guarded, "no guard would end the redirect",
               "start the guard: relay-fleet-lease.timer, or `relayctl.pyz guard --every 15`"),
        _check("running", postfix.is_running(found.settings["queue_directory"]) is not False,
               "Postfix is not running", "start it"),
        _check("space", free >= _MIN_FREE_BYTES, f"only {free >> 20} MiB are free", "make room in the spool"),
    ]  # fmt: skip


def _is_own(found: Facts, peer: Peer) -> bool:
    return peer.address in (*found.bind_addresses, *found.bind_addresses6)


def _over_there(found: Facts, peer: Peer, sender: str, recipients: list[str]) -> list[dict[str, Any]]:
    """Speak with the peer as the drain would, up to RCPT."""
    is_v6 = ":" in peer.address
    bound = (found.bind_addresses6 if is_v6 else found.bind_addresses)[:1]
    name = found.settings["smtp_helo_name"] or found.settings["myhostname"]
    family, protocol = ("IPv6", "ipv6") if is_v6 else ("IPv4", "ipv4")
    if not {protocol, "all"} & set(found.settings["inet_protocols"].replace(",", " ").lower().split()):
        return [_check("reaches", False, f"its inet_protocols leave {family} out: Postfix would not try",
                       f"add {protocol} there and start it anew, or choose another target")]  # fmt: skip
    if not bound:
        return [_check("reaches", False, f"the instance has no {family} address of its own",
                       "choose a target that it can reach")]  # fmt: skip
    try:
        with _Peer(peer, bound[0], name) as smtp:
            return _answers(smtp, found, peer, sender, recipients)
    except (OSError, smtplib.SMTPException) as error:
        return [_check("reaches", False, f"{peer} from {bound[0]}: {error}",
                       "see that it runs, listens there, and that nothing is in between")]  # fmt: skip


class _Peer(smtplib.SMTP):
    """A session that says who greeted."""

    def __init__(self, peer: Peer, bind: str, name: str) -> None:
        super().__init__(timeout=_WITHIN_S)
        self.source_address = (bind, 0)
        self.local_hostname = name
        code, greeting = self.connect(peer.address, peer.port)
        if code != 220:
            raise smtplib.SMTPResponseException(code, greeting)
        self.greeting = _text(greeting)
        self.ehlo_or_helo_if_needed()


def _answers(
    smtp: _Peer, found: Facts, peer: Peer, sender: str, recipients: list[str]
) -> list[dict[str, Any]]:
    # The first word of the reply, as Postfix has it.
    their_name = _text(next(iter((smtp.ehlo_resp or smtp.helo_resp or b"").split()), b""))
    own_name = found.settings["myhostname"]
    told = [
        _check("reaches", True, "", ""),
        _check("names_differ", own_name.lower() not in (their_name.lower(), *smtp.greeting.lower().split()),
               f"both call themselves {own_name}: Postfix takes that for a loop",
               "give each instance a myhostname of its own"),
    ]  # fmt: skip
    code, text = smtp.mail(sender)
    refused = [] if code == 250 else [f"MAIL FROM:<{sender}>: {code} {_text(text)}"]
    accepted = 0
    for recipient in [] if refused else recipients:
        code, text = smtp.rcpt(recipient)
        accepted += code in (250, 251)
        if code not in (250, 251):
            refused.append(f"{recipient}: {code} {_text(text)}")
    smtp.rset()
    told.append(_check("accepts", not refused, f"it refused {'; '.join(refused[:3])}",
                       f"let {peer} relay for this address: mynetworks there"))  # fmt: skip
    has_tls = smtp.has_extn("starttls")
    told.append(_check("encrypts", has_tls or found.tls not in _INSISTS,
                       f"{peer} offers no TLS, which smtp_tls_security_level={found.tls} insists on",
                       "set smtpd_tls_security_level=may there, with a certificate"))  # fmt: skip
    size = smtp.esmtp_features.get("size", "")
    return [
        *told,
        {
            "kind": "peer",
            "name": peer.name,
            "greeting": printable(smtp.greeting, 200),
            "size_limit": int(size) if size.isdigit() else None,
            "smtputf8": smtp.has_extn("smtputf8"),
            "starttls": has_tls,
            "encrypts": has_tls and found.tls != "none",
            "recipients_accepted": accepted,
            "recipients_refused": len(recipients) - accepted if recipients else 0,
        },
    ]


def _check(check: str, ok: bool, detail: str, remedy: str) -> dict[str, Any]:
    told = {"detail": printable(detail, 400), "remedy": remedy} if not ok else {"detail": "", "remedy": ""}
    return {"kind": "check", "check": check, "ok": ok, **told}


def _recipients(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_RECIPIENTS:
        raise BadRequest(f"recipients must be a list of at most {MAX_RECIPIENTS}")
    return [_address(item, "a recipient") for item in value]


def _address(value: Any, what: str) -> str:
    """Return an address that can stand in a command of SMTP. Raises BadRequest."""
    bad = not isinstance(value, str) or len(value) > _MAX_ADDRESS or not value.isascii()
    if bad or any(char <= " " or char in "<>\x7f" for char in value):
        raise BadRequest(f"{what} must be an address of at most {_MAX_ADDRESS} ASCII characters")
    return str(value)


def _text(value: bytes) -> str:
    return printable(value.decode("utf-8", "replace"), 400)
