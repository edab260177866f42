"""One text for all replies that say the same: what varies from message to message is masked.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from functools import lru_cache

from relays.domain.text import printable

# Longer replies are cut before they are looked at, so that no reply costs much more than another.
MAX_TEXT = 400

# Nearly all words of a reply come again with the next one: a remembered word costs 1/50 of a masked one.
_WORDS_REMEMBERED = 8192
_TEXTS_REMEMBERED = 2048

_VARIES = re.compile(r"[\d@]")
# What tells one refusal from another: 421, 550-5.7.1, 4.7.650, (S3140), [TSS04], RP-001, AUP#1260,
# AUP#In-1310, LPN007_416, ofr_506, (RLY:B1), [104].
_CODE = re.compile(
    r"[^\w#]*(?:[245]\d\d(?:-[245]\.\d{1,3}\.\d{1,3})?|#?[245]\.\d{1,3}\.\d{1,3}"
    r"|[A-Z]{1,6}[-:_#]?[A-Z]?\d{1,4}(?:_\d{1,4})?|[A-Z]{1,6}#[A-Za-z]{1,4}-?\d{1,4}"
    r"|[a-z]{2,4}_\d{3}|(?<=\[)\d{1,3}(?=\]))[^\w]*"
)
# The code that a line of several repeats stands before that line's first word: 550-SPF.
_LINE_CODE = re.compile(r"[245]\d\d-(?=[A-Za-z])")
_URL = re.compile(r"(?P<host>[a-z]+://[^/?#]*)(?P<tail>.*)", re.DOTALL)
_ADDRESS = re.compile(r"<?[^\s<>()\[\]\",;:'=]+@[^\s<>()\[\]\",;:'=]+>?")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:\]])(?=[\da-fA-F:]*::|(?:[\da-fA-F]+:){7})[\da-fA-F:]+(?:\.\d{1,3}){0,3}(?!\w)")
# A run long and mixed enough to be made for one message: queue ids, session ids, hashes.
_IDENTIFIER_LENGTH = 8
_IDENTIFIER = re.compile(r"(?=[A-Za-z0-9-]{8})[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_NUMBER = re.compile(r"\d+")

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATE = re.compile(
    rf"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:<n> {_MONTH} <n>|{_MONTH} <n>) <n>:<n>(?::<n>)?"
    r"(?: [+-]<n>| GMT| UTC)?(?: <n>)?"
)
# A number that looks like a reply code stands for one at the start of a reply or before an enhanced code.
_NO_CODE = re.compile(r"(?<!said: )(?<!to me: )(?<!\S)(?!\A)[245]\d\d(?=[ ,.;)]|\Z)(?! #?[245]\.\d)")
# A provider has many names for its servers, and says the same from each.
_SERVER = re.compile(r"\bhost \S+\[<ip>\](?= (?:said|refused to talk to me):)")


def mask(text: str) -> str:
    """Return a reply as the text of its cluster: printable, at most MAX_TEXT characters.

    Reply codes, enhanced status codes and short codes in capitals (S3140) stay, since they tell one refusal
    from another. Addresses, IPs, dates, identifiers and numbers become <address>, <ip>, <date>, <id>, <n>,
    and the server that said it <mx>.
    """
    return _in_context(" ".join(map(_masked_word, text[:MAX_TEXT].split())))


@lru_cache(maxsize=_TEXTS_REMEMBERED)
def _in_context(text: str) -> str:
    """Mask what only its neighbours tell: dates, numbers that are no reply codes, and who said it."""
    text = _DATE.sub("<date>", _NO_CODE.sub("<n>", text))
    return printable(_SERVER.sub("host <mx>[<ip>]", text), MAX_TEXT)


@lru_cache(maxsize=_WORDS_REMEMBERED)
def _masked_word(word: str) -> str:
    if _VARIES.search(word) is None or _CODE.fullmatch(word):
        return word
    line_code = _LINE_CODE.match(word)
    if line_code:
        return line_code[0] + _masked_word(word[line_code.end() :])
    url = _URL.search(word) if "://" in word else None
    if url:
        return word[: url.start()] + url["host"] + _masked_runs(url["tail"])
    if "@" in word:
        word = _ADDRESS.sub("<address>", word)
        # What most such words then are; only an IPv6 address may have no digit.
        if word.count(":") < 2 and _VARIES.search(word) is None:
            return word
    return _masked_runs(word)


def _masked_runs(word: str) -> str:
    # Each test is far cheaper than the expression behind it.
    if word.count(".") >= 3:
        word = _IPV4.sub("<ip>", word)
    if word.count(":") >= 2:
        word = _IPV6.sub("<ip>", word)
    if len(word) >= _IDENTIFIER_LENGTH:
        word = _IDENTIFIER.sub(_masked_identifier, word)
    return _NUMBER.sub("<n>", word)


def _masked_identifier(match: re.Match[str]) -> str:
    run = match[0]
    made_for_one = len(run) >= _IDENTIFIER_LENGTH and not run.isalpha() and sum(map(str.isdigit, run)) >= 2
    return "<id>" if made_for_one and not run.isdigit() else run
