"""What a regular expression costs, and which words it cannot match without.

Python's `re` backtracks and cannot be stopped, so an expression that may take long is refused before it is
used on hostile text. Both answers come from the expression's parse tree.
"""

from collections.abc import Iterable, Sequence
from math import prod

# The standard library has no public way to see what an expression is made of.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

# More ways than this to try on one text would take seconds.
MAX_WAYS = 50_000_000
_ENDLESS = 10**18
# A shorter word stands in nearly every text.
_MIN_WORD = 3

_Items = Sequence[tuple[Any, Any]]


def ways(pattern: str, length: int) -> int:
    """Return an upper bound of the ways in which a search can try a pattern on a text of this length.

    Repetitions multiply: `.*a.*b` has length**3, `(a+)+` without end (10**18 stands for that or more).
    Raises re.error.
    """
    return min(_ENDLESS, (length + 1) * _ways(_parser.parse(pattern), length))


def needed_words(pattern: str) -> frozenset[str]:
    """Return words, in lower case, of which every text that matches has one; empty where there are none.

    Looking for them first is many times cheaper than the search. Raises re.error.
    """
    return frozenset(word.lower() for word in _words(_parser.parse(pattern)))


def _ways(items: _Items, length: int, repeated: bool = False) -> int:
    return min(_ENDLESS, prod(_ways_of(kind, value, length, repeated) for kind, value in items))


def _ways_of(kind: Any, value: Any, length: int, repeated: bool) -> int:
    if kind is op.BRANCH:
        # At one place hardly two branches fit; over repetitions every choice counts, as in (a|ab)*.
        return (sum if repeated else max)(_ways(branch, length, repeated) for branch in value[1])
    if kind in _REPEATS:
        least, most, body = value
        return _repeated(_ways(body, length, repeated or most > 1), least, min(int(most), length))
    return prod(_ways(inner, length, repeated) for inner in _inner(kind, value))


def _repeated(body: int, least: int, most: int) -> int:
    if body == 1:
        return max(1, most - least + 1)
    total = 0
    for times in range(least, most + 1):
        total += body**times
        if total >= _ENDLESS:
            return _ENDLESS
    return max(1, total)


def _inner(kind: Any, value: Any) -> Iterable[_Items]:
    """Return the parts of an item that hold items of their own."""
    if kind is op.SUBPATTERN:
        return [value[-1]]
    if kind in (op.ASSERT, op.ASSERT_NOT):
        return [value[1]]
    if kind is op.ATOMIC_GROUP:
        return [value]
    if kind is op.GROUPREF_EXISTS:
        return [part for part in value[1:] if part]
    return []


def _words(items: _Items) -> set[str]:
    """Return the best set of words of a sequence: the one whose shortest word is longest."""
    found: list[set[str]] = []
    run = ""
    for kind, value in items:
        if kind is op.LITERAL:
            run += chr(value)
            continue
        found.append({run})
        run = ""
        found.append(_words_of(kind, value))
    found.append({run})
    usable = [words for words in found if words and all(map(_telling, words))]
    return max(usable, key=lambda words: (min(map(_length, words)), -len(words)), default=set())


def _telling(word: str) -> bool:
    return _length(word) >= _MIN_WORD or not word.isascii()


def _length(word: str) -> int:
    return len(word.strip())


def _words_of(kind: Any, value: Any) -> set[str]:
    if kind is op.BRANCH:
        branches = [_words(branch) for branch in value[1]]
        return set().union(*branches) if all(branches) else set()
    if kind is op.SUBPATTERN:
        return _words(value[-1])
    if kind in _REPEATS and value[0] > 0:
        return _words(value[2])
    return set()


_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
