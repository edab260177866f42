"""How the rehearsal's mail providers answer: rules by provider, source address and recipient domain.

Pure: the time is an argument, and nothing here touches a connection.
"""

import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

ANY = "*"
CONNECT, MAIL, RCPT, LISTEN = "connect", "mail", "rcpt", "listen"


@dataclass(frozen=True)
class Action:
    """What a rule does: at which stage of the session, with which reply; without one, mail is taken."""

    stage: str
    reply: str
    explanation: str


ACTIONS = {
    "accept": Action(RCPT, "", "takes the mail"),
    "throttle": Action(
        RCPT, "421 4.7.0 Too many messages from {source} in a short time, try again later", "421 at RCPT"
    ),
    "throttle-connect": Action(
        CONNECT, "421 4.7.0 Too many connections from {source}, try again later", "421 instead of a greeting"
    ),
    "greylist": Action(
        RCPT,
        "451 4.7.1 Greylisted: we do not know this sender yet, try again in {wait} s",
        "451 to new triplets",
    ),
    "full": Action(RCPT, "452 4.2.2 The mailbox of {recipient} is full", "452 at RCPT"),
    "unknown": Action(RCPT, "550 5.1.1 {recipient} is not a mailbox of ours", "550 at RCPT"),
    "block": Action(RCPT, "554 5.7.1 Mail from {source} is refused because of its reputation", "554 at RCPT"),
    "block-mail": Action(
        MAIL, "554 5.7.1 Mail from {source} is refused because of its reputation", "554 at MAIL"
    ),
    "block-connect": Action(
        CONNECT, "554 5.7.1 Connections from {source} are refused because of its reputation", "554 greeting"
    ),
    "slow": Action(RCPT, "", "takes the mail, each answer late"),
    "closed": Action(LISTEN, "", "nothing listens on the provider's port"),
}


@dataclass(frozen=True)
class Rule:
    """One rule. `share` limits it to that part of the recipients, always the same ones.

    `wait_s` is the greylist's least delay, or how late a slow provider answers.
    """

    action: str
    provider: str = ANY
    source: str = ANY
    domain: str = ANY
    share: float = 1.0
    wait_s: float = 20.0
    text: str = ""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"no action '{self.action}': choose from {', '.join(ACTIONS)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, must be more than 0 and at most 1")
        if self.stage != RCPT and self.domain != ANY:
            raise ValueError(f"'{self.action}' answers before a recipient is named: it takes no domain")
        if self.stage == LISTEN and (self.source != ANY or self.provider == ANY):
            raise ValueError("'closed' takes a provider and no source: a port is closed for everybody")
        if self.text and not (self.text[:3].isdigit() and self.text[:1] in "45" and self.text[3:4] == " "):
            raise ValueError("a text begins with its 4xx or 5xx code and a space")

    @property
    def stage(self) -> str:
        return ACTIONS[self.action].stage

    @property
    def key(self) -> tuple[str, str, str]:
        return self.provider, self.source, self.domain

    def reply(self, *, source: str, recipient: str = "") -> str:
        """Return the reply line; "" where mail is taken."""
        values = {"{source}": source, "{recipient}": recipient, "{wait}": f"{self.wait_s:g}"}
        line = self.text or ACTIONS[self.action].reply
        for name, value in values.items():
            line = line.replace(name, value)
        return line

    def matches(self, provider: str, source: str, domain: str) -> bool:
        wanted = zip(self.key, (provider, source, domain), strict=True)
        return all(rule in (ANY, value) for rule, value in wanted)

    def takes(self, recipient: str) -> bool:
        return zlib.crc32(recipient.encode()) % 10_000 < self.share * 10_000


@dataclass
class RuleBook:
    """All rules, one for each provider, source and domain; the most specific that applies decides."""

    rules: dict[tuple[str, str, str], Rule] = field(default_factory=dict)

    def set(self, rule: Rule) -> None:
        self.rules[rule.key] = rule

    def clear(self, provider: str = ANY, source: str = ANY) -> None:
        """Forget the rules of a provider, of a source, of both, or all of them."""
        self.rules = {
            key: rule
            for key, rule in self.rules.items()
            if provider not in (ANY, rule.provider) or source not in (ANY, rule.source)
        }

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(rule) for rule in self.rules.values()]

    def closed(self, provider: str) -> bool:
        return any(rule.action == "closed" for rule in self._matching(provider, ANY, ANY))

    def before_recipient(self, stage: str, provider: str, source: str) -> Rule | None:
        """Return the rule that refuses at connect or at MAIL; None lets the session go on."""
        decisive = next(iter(self._matching(provider, source, ANY)), None)
        return decisive if decisive is not None and decisive.stage == stage else None

    def at_recipient(self, provider: str, source: str, recipient: str) -> Rule | None:
        """Return the rule that decides on a recipient; None takes the mail."""
        domain = recipient.rpartition("@")[2].lower()
        for rule in self._matching(provider, source, domain):
            if rule.stage == RCPT and rule.takes(recipient):
                return rule
        return None

    def _matching(self, provider: str, source: str, domain: str) -> Iterable[Rule]:
        """Yield the rules that match, the most specific first: by domain, then source, then provider."""
        found = [rule for rule in self.rules.values() if rule.matches(provider, source, domain)]
        return sorted(found, key=lambda rule: (rule.domain == ANY, rule.source == ANY, rule.provider == ANY))


@dataclass
class Greylist:
    """Which triplets have been seen, and since when."""

    since: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def must_wait(self, source: str, sender: str, recipient: str, *, now: float, wait_s: float) -> bool:
        """Remember a new triplet, and tell whether it is younger than wait_s."""
        first = self.since.setdefault((source, sender, recipient), now)
        return now - first < wait_s
