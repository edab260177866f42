"""Why a remote server refused or put off a message: what its reply means, and what to do about it.

A rule table, in order: the first rule that fits gives the reason. Rules are data (relays/data/reasons.json).
Text comes first, because codes say little: one enhanced code, 5.7.1, stands for blocklists, content,
authentication, relaying, policy and unknown users alike. Rules without a text guess by code, and come late.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from relays.domain.expressions import MAX_WAYS, needed_words, ways

# Longer replies are cut: what a reply means stands in its first sentences.
MAX_REPLY = 2048
OTHER = "other"
# Whose fault it is, as pages say it.
FAULTS = {
    "address": "the recipient's address",
    "ip": "our IP",
    "sender-domain": "the sender's domain",
    "content": "the message",
    "list": "the list",
    "remote": "their server",
    "ours": "our side",
}

_SPACE = re.compile(r"\s+")
# What Postfix puts around a remote server's words (smtp_trouble.c); a host's name must not decide.
_SUSPENDED = re.compile(r"\A(?:delivery temporarily suspended: ?)+")
_BEFORE = re.compile(r"\bhost [^ ]{1,300} (?:said|refused to talk to me|replied): |\A[^ ]{1,300} said: ")
_AFTER = re.compile(r" ?\(in reply to [a-z ]{1,60}\)\Z")
# Postfix puts this before whatever a policy service or an access map says.
_RECIPIENT = re.compile(r"recipient address rejected: (?=[a-z])(?!access denied)")
_ADDRESS = re.compile(r"<?[^\s<>()\[\]\",;:'=]{1,200}@[^\s<>()\[\]\",;:'=]{1,255}>?")
_IP = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
# Gmail's "To reduce the amount of spam sent to Gmail, ..." and "For more information, go to About SMTP error
# messages": what they name is not what happened.
_FOOTNOTE = re.compile(
    r"for more information,? (?:go to|review) [^.:/]{1,120}(?=[.:/]|\Z)"
    r"|to (?:reduce the amount of spam|(?:best )?protect (?:our|your) users)[^,.]{0,40},"
)
_CODE = re.compile(r"(?:\A|(?<=[\s:>(\"]))([245]\d\d)(?=[ -]|\Z)")
_ENHANCED = re.compile(r"(?<![\w.])[245]\.\d{1,3}\.\d{1,3}(?![\w.]*\d)")
_ESCAPE = re.compile(r"\\.")
_CODE_SPEC = re.compile(r"\A[245](?:\d\d|\dx|xx)\Z")
_ENHANCED_SPEC = re.compile(r"\A[245x]\.(?:\d{1,3}|x)\.(?:\d{1,3}|x)\Z")


class BadRule(ValueError):
    """A rule, reason or table that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A class of replies. fault: one of FAULTS. action: slug of what to offer, one of the table's.

    hard: retrying is no use for the address.
    """

    slug: str
    title: str
    hard: bool
    fault: str
    advice: str
    action: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What a reply must be to have a reason; an empty condition always holds.

    texts: regular expressions, one of which is found in the reply as `hear` gives it, ignoring case.
    codes: "421", "42x" or "5xx". enhanced: "4.7.0", "4.7.x" or "5.x.x".
    hard: None where the reason and the code say it. advice: "" for the reason's own.
    """

    id: str
    reason: str
    texts: tuple[str, ...] = ()
    providers: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    hard: bool | None = None
    advice: str = ""
    _searches: tuple["_Search", ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for spec in self.codes:
            if not _CODE_SPEC.match(spec):
                raise BadRule(f"{spec!r} is no reply code: write 421, 42x or 5xx.")
        for spec in self.enhanced:
            if not _ENHANCED_SPEC.match(spec):
                raise BadRule(f"{spec!r} is no enhanced code: write 4.7.0, 4.7.x or 5.x.x.")
        object.__setattr__(self, "_searches", tuple(map(_search, self.texts)))

    def fits(self, heard: "Heard", provider: str) -> bool:
        """Tell whether the rule holds for a reply."""
        if self.providers and provider not in self.providers:
            return False
        if self.codes and not _any_fits(self.codes, heard.code):
            return False
        if self.enhanced and not _any_fits(self.enhanced, heard.enhanced):
            return False
        return not self._searches or any(search.finds(heard.text) for search in self._searches)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Reason's slug, whether retrying is no use for the address, and the rule ("" where none fitted)."""

    reason: str
    hard: bool
    rule: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply as rules see it: the remote server's words in lower case, and its codes ("" for none)."""

    text: str
    code: str
    enhanced: str


# eq=False: equal only to itself, and so the key of a cache.
@dataclass(frozen=True, slots=True, eq=False)
class RuleTable:
    """Rules in order, the reasons they give, and the actions (title by slug) that reasons offer."""

    version: str
    actions: Mapping[str, str]
    reasons: Mapping[str, Reason]
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for reason in self.reasons.values():
            if reason.action not in self.actions or reason.fault not in FAULTS:
                raise BadRule(f"reason {reason.slug}: no such action or fault.")
        for rule in self.rules:
            if rule.reason not in self.reasons:
                raise BadRule(f"rule {rule.id}: there is no reason {rule.reason!r}.")
            if rule.id in seen:
                raise BadRule(f"rule {rule.id} is there twice.")
            seen.add(rule.id)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "RuleTable":
        """Return the table of a parsed rule file: {"version", "actions": {slug: title},
        "reasons": {slug: {...}}, "rules": [{...}]}.

        A rule's `any` lists its expressions, of which one must be found. Raises BadRule.
        """
        try:
            reasons = {slug: Reason(slug=slug, **fields) for slug, fields in body["reasons"].items()}
            return cls(
                str(body["version"]), body["actions"], reasons, tuple(map(_rule_from_json, body["rules"]))
            )
        except BadRule:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadRule(f"This is no rule table: {error!r}.") from error

    def advice(self, verdict: Verdict) -> str:
        """Return what to do about a reply: the rule's own advice, else its reason's."""
        rules = (rule.advice for rule in self.rules if rule.id == verdict.rule)
        return next(rules, "") or self.reasons[verdict.reason].advice

    def with_own(self, own: Sequence[Rule], version: str) -> "RuleTable":
        """Return the table with an administrator's rules before its own."""
        return replace(self, version=version, rules=(*own, *self.rules))

    def classify(self, reply: str, *, provider: str = "") -> Verdict:
        """Return what a reply means; provider: slug of whose server it was, "" where that is not known."""
        heard = hear(reply)
        rule = next((rule for rule in self.rules if rule.fits(heard, provider)), None)
        if rule is None:
            return Verdict(OTHER, False, "")
        return Verdict(rule.reason, self._hard(rule, heard), rule.id)

    def _hard(self, rule: Rule, heard: Heard) -> bool:
        if rule.hard is not None:
            return rule.hard
        temporary = heard.code.startswith("4") or heard.enhanced.startswith("4")
        return self.reasons[rule.reason].hard and not temporary


@dataclass(frozen=True, slots=True)
class _Search:
    """A regular expression behind a look for words that it cannot match without."""

    words: tuple[str, ...]
    pattern: re.Pattern[str]

    def finds(self, text: str) -> bool:
        for word in self.words:
            if word in text:
                break
        else:
            if self.words:
                return False
        return self.pattern.search(text) is not None


@lru_cache(maxsize=2048)
def _search(text: str) -> _Search:
    try:
        if ways(text, MAX_REPLY) > MAX_WAYS:
            raise BadRule(
                "This could take very long on a hostile reply: write .{0,40} in place of .* and .+, "
                "and no repetition inside a repetition."
            )
        # Replies are lower case when they come here, and a search that need not fold case is far faster.
        letters = _ESCAPE.sub("", text)
        pattern = re.compile(text, 0 if letters == letters.lower() else re.IGNORECASE)
        return _Search(tuple(needed_words(text)), pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadRule(f"This is no regular expression: {error}.") from error


def hear(reply: str) -> Heard:
    """Return a reply, bare or as Postfix wraps it, masked or not, without what must not decide.

    Gone are the wrapping with the host's name, addresses, accents, and the codes that a reply of several
    lines repeats.
    """
    text = reply[:MAX_REPLY].lower()
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = _SPACE.sub(" ", text).strip()
    text = _RECIPIENT.sub("", _FOOTNOTE.sub("", text))
    text = _AFTER.sub("", _BEFORE.sub("", _SUSPENDED.sub("", text)))
    code = _CODE.search(text)
    enhanced = _ENHANCED.search(text)
    text = _IP.sub("<ip>", _ADDRESS.sub("<@>", text) if "@" in text else text.replace("<address>", "<@>"))
    if code:
        text = _without_repeats(text, code[1], enhanced[0] if enhanced else "")
    return Heard(text, code[1] if code else "", enhanced[0] if enhanced else "")


def _without_repeats(text: str, code: str, enhanced: str) -> str:
    head, text = text[: len(code)], text[len(code) :]
    for again in (f" {code}-{enhanced} ", f" {code} {enhanced} ", f" {code}-"):
        text = text.replace(again, " ")
    return head + text


def _any_fits(specs: tuple[str, ...], code: str) -> bool:
    return any(_fits(spec, code) for spec in specs)


def _fits(spec: str, code: str) -> bool:
    if "x" not in spec:
        return spec == code
    if "." not in spec:
        return code.startswith(spec.rstrip("x"))
    return len(parts := code.split(".")) == 3 and all(
        s in ("x", p) for s, p in zip(spec.split("."), parts, strict=True)
    )


def _rule_from_json(fields: Mapping[str, Any]) -> Rule:
    given = dict(fields)
    try:
        return Rule(
            texts=tuple(given.pop("any", ())),
            providers=frozenset(given.pop("providers", ())),
            codes=tuple(given.pop("codes", ())),
            enhanced=tuple(given.pop("enhanced", ())),
            **given,
        )
    except BadRule as error:
        raise BadRule(f"rule {given.get('id')}: {error}") from error
