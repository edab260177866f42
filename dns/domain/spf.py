"""Whether a domain's SPF record covers an address: check_host() of RFC 7208, without its macros."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# RFC 7208, section 4.6.4: terms that ask, answers that are empty, hosts of one mx.
MOST_LOOKUPS = 10
MOST_VOID = 2
MOST_HOSTS = 10

# Returns the values of a name and type: texts whole, MX records as "10 mx.example.org"; () for none.
Ask = Callable[[str, str], Sequence[str]]


class Result(StrEnum):
    """What an SPF record says of an address (section 2.6)."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    PERMERROR = "permerror"


class Unclear(Exception):
    """The record asks for what only a delivery tells (a macro, ptr), before another term decides."""


class _Broken(Exception):
    """The record is wrong, or asks for too much: permerror."""


# Section 6: modifiers that nobody knows are none.
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_QUALIFIERS = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


def check(domain: str, address: str, ask: Ask) -> Result:
    """Return what a domain's SPF record says of mail from an address.

    Raises Unclear, and whatever `ask` raises where it gets no answer.
    """
    try:
        return _Check(ip_address(address), ask).of(domain)
    except _Broken:
        return Result.PERMERROR


@dataclass(slots=True)
class _Check:
    address: IPv4Address | IPv6Address
    ask: Ask
    lookups: int = 0
    void: int = 0

    def of(self, domain: str) -> Result:
        """Return the result for a domain, whose record is the first of none or another's."""
        records = [text for text in self.ask(domain, "TXT") if text.lower().split(" ", 1)[0] == "v=spf1"]
        if not records:
            return Result.NONE
        if len(records) > 1:
            raise _Broken
        redirects: list[str] = []
        for term in records[0].split()[1:]:
            if modifier := _MODIFIER.fullmatch(term):
                redirects += [modifier[2]] if modifier[1].lower() == "redirect" else []
            elif self._matches(term.lstrip("+-~?"), domain):
                return _QUALIFIERS.get(term[0], Result.PASS)
        if len(redirects) > 1:
            raise _Broken
        return self._redirected(redirects[0]) if redirects else Result.NEUTRAL

    def _redirected(self, domain: str) -> Result:
        self._count()
        result = self.of(_plain(domain))
        if result is Result.NONE:
            raise _Broken
        return result

    def _matches(self, mechanism: str, domain: str) -> bool:
        name, colon, rest = mechanism.partition(":")
        if not colon:
            name, slash, length = mechanism.partition("/")
            rest = f"{slash}{length}"
        match name.lower():
            case "all":
                return True
            case "ip4" | "ip6":
                return self._is_in(rest)
            case "include":
                return self._includes(rest)
            case "a":
                return self._is_host(*_target(rest, domain))
            case "mx":
                return self._is_mail_host(*_target(rest, domain))
            case "exists":
                self._count()
                return bool(self._asked(_plain(rest), "A"))
            case "ptr":
                raise Unclear
        raise _Broken

    def _is_in(self, network: str) -> bool:
        try:
            return self.address in ip_network(network, strict=False)
        except ValueError:
            raise _Broken from None

    def _includes(self, domain: str) -> bool:
        self._count()
        result = self.of(_plain(domain))
        if result in {Result.NONE, Result.PERMERROR}:
            raise _Broken
        return result is Result.PASS

    def _is_host(self, host: str, lengths: tuple[int, int]) -> bool:
        self._count()
        return self._has(host, lengths)

    def _is_mail_host(self, domain: str, lengths: tuple[int, int]) -> bool:
        self._count()
        hosts = [record.split()[-1] for record in self._asked(domain, "MX")]
        if len(hosts) > MOST_HOSTS:
            raise _Broken
        return any(self._has(host, lengths) for host in hosts)

    def _has(self, host: str, lengths: tuple[int, int]) -> bool:
        kind, length = ("A", lengths[0]) if self.address.version == 4 else ("AAAA", lengths[1])
        return any(
            self.address in ip_network(f"{found}/{length}", strict=False) for found in self._asked(host, kind)
        )

    def _asked(self, name: str, kind: str) -> Sequence[str]:
        found = self.ask(name, kind)
        self.void += not found
        if self.void > MOST_VOID:
            raise _Broken
        return found

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            raise _Broken


def _target(rest: str, domain: str) -> tuple[str, tuple[int, int]]:
    """Return the host and the lengths of its networks, of "HOST/24//64", each part optional."""
    rest, _, long = rest.partition("//")
    host, _, short = rest.partition("/")
    try:
        lengths = int(short or 32), int(long or 128)
    except ValueError:
        raise _Broken from None
    if not (0 <= lengths[0] <= 32 and 0 <= lengths[1] <= 128):
        raise _Broken
    return _plain(host or domain), lengths


def _plain(domain: str) -> str:
    if "%" in domain:
        raise Unclear
    if not domain:
        raise _Broken
    return domain.removesuffix(".")
