"""A cell of the matrix: one instance, as HTML.

By markup, which escapes every value, and not by a template: a page has hundreds of cells, and a template
takes ten times as long for each (docs/decisions/0050-matrix.md).
"""

from collections.abc import Sequence
from datetime import datetime

from relays.domain.shares import percent
from relays.domain.words import count, span, visible
from relays.selectors.beside import Fact, RowAction
from relays.selectors.figures import moment
from relays.selectors.hosts import HostStatus
from relays.selectors.markup import Markup, joined, markup
from relays.selectors.outcomes import LATE
from relays.selectors.readings import Reading, deferred_urls, time_of
from relays.selectors.redirects import Redirected, shown
from relays.selectors.states import words

_CELL = (
    '<li class="{tone}" id="cell-{key}"><div class="cell-box"><a class="cell" href="{url}" data-row>'
    '<span class="top-line"><span class="inst">{name}</span><span class="state">{state}</span></span>'
    '<span class="figures"><span class="def">{deferred}</span> {deferred_words}</span>'
    "{hour}"
    '<span class="sub"><span>{others}</span>{age}</span>'
    '<span class="sub"><span>{place}</span></span>{fact}{redirect}{trouble}</a>{queue}</div>{actions}</li>'
)
# The separators are for the eye, the words for who hears them; the legend is the table's head.
_HOUR = (
    '<span class="sub hour"><span>{sent}<i> sent</i> \N{MIDDLE DOT} {deferred}<i> deferred</i> '
    "\N{MIDDLE DOT} {bounced}<i> bounced in the last hour</i></span>{share}</span>"
)
_SHARE = "<span>{share} deferred</span>"
_NOT_COUNTED = markup('<span class="sub hour"><span class="none">log not read yet</span></span>')
_FACT = '<span class="sub fact">{text}</span>'
_TROUBLE = '<span class="sub trouble">{host} {state}</span>'
_REDIRECT = '<span class="sub redirect tone-{tone}">redirected {figures}</span>'
# Beside the cell's own link, for one in another cannot be.
_QUEUE = (
    '<a class="to-queue" href="{url}" title="Work the deferred mail of {name}">'
    'queue<span class="visually-hidden"> of the deferred mail of {name}</span></a>'
)
_ACTIONS = '<span class="acts{lasting}">{buttons}</span>'
_NO_FIGURES = markup('<span class="asof">no figures yet</span>')


def cell(  # noqa: PLR0913, PLR0917 (the parts of one cell)
    reading: Reading,
    host: HostStatus,
    url: str,
    addresses: str,
    redirect: Redirected | None,
    now: datetime,
    fact: Fact | None = None,
    actions: Sequence[RowAction] = (),
) -> Markup:
    """Return an instance as a list item.

    url: the pages of instances, with {} for an id; fact: what another app says of it; actions: what can be
    done about it in one click.

    The figures of a host that is not fresh are the last known ones, and look and read so.
    """
    state, tone = shown(reading.state, redirect)
    return markup(
        _CELL,
        tone=f"tone-{tone}" if host.fresh else "tone-idle last-known",
        key=reading.id,
        url=url.format(reading.id),
        name=visible(reading.name),
        state=state if host.fresh else f"stale, was {state}",
        deferred=count(reading.deferred),
        deferred_words="deferred"
        if reading.oldest_s is None
        else f"deferred, oldest {span(reading.oldest_s)}",
        hour=_hour(reading, now),
        others=_others(reading),
        age=moment(time_of(reading.sampled), now, stale=not host.fresh) or _NO_FIGURES,
        place=f"{host.name} \N{MIDDLE DOT} {addresses}" if addresses else host.name,
        redirect=markup(_REDIRECT, tone=redirect.tone, figures=redirect.figures) if redirect else "",
        fact=markup(_FACT, text=fact.text) if fact else "",
        queue=markup(_QUEUE, url=deferred_urls().format(reading.id), name=visible(reading.name))
        if reading.deferred
        else "",
        trouble="" if host.fresh else markup(_TROUBLE, host=host.name, state=words(host.state)),
        actions=_actions(reading, actions) if actions else "",
    )


def _actions(reading: Reading, actions: Sequence[RowAction]) -> Markup:
    lasting = " lasting" if any(one.lasting for one in actions) else ""
    return markup(
        _ACTIONS, lasting=lasting, buttons=joined(one.html(visible(reading.name)) for one in actions)
    )


def _hour(reading: Reading, now: datetime) -> Markup:
    """Return the last hour's outcomes; beside them the share deferred, or how old they are."""
    outcome = reading.hour
    if outcome is None:
        return _NOT_COUNTED
    share = percent(outcome.deferral_share or None)
    counted = time_of(reading.counted)
    late = counted is None or now - counted > LATE
    return markup(
        _HOUR,
        sent=count(outcome.sent),
        deferred=count(outcome.deferred),
        bounced=count(outcome.returned),
        share=moment(counted, now, stale=True) if late else markup(_SHARE, share=share) if share else "",
    )


def _others(reading: Reading) -> str:
    """Return the other queues' counts; of those that are normally empty only what is not."""
    counts = [f"{count(reading.active)} active"]
    rare = ((reading.incoming, "incoming"), (reading.hold, "on hold"), (reading.corrupt, "corrupt"))
    return ", ".join(counts + [f"{number:,} {queue}" for number, queue in rare if number])
