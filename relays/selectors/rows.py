"""A row of the matrix: one provider, with the cells of its instances, as HTML (see cells.py)."""

from dataclasses import dataclass
from functools import lru_cache

from relays.selectors.markup import Markup, joined, markup

TREND_HOURS = 24

_ROW = (
    '<tr id="row-{slug}"><th class="provider" scope="row"><span class="name">{name}</span>'
    '<span class="line"><span><b>{deferred}</b> deferred</span><span><b>{active}</b> active</span>{oldest}'
    "</span>{hour}{unknown}{trend}{age}</th>"
    '<td><ul class="cells">{cells}{last}</ul>{hint}</td></tr>'
)
_NAME = '<a href="{url}">{slug}</a> <span class="asof">{name}</span>'
_NO_NAME = '<span class="tone-warn">{name}</span>'
_OLDEST = "<span>oldest <b>{oldest}</b></span>"
_HOUR = '<span class="line"><span><b>{sent}</b> sent/h</span>{share}</span>'
_SHARE = "<span><b>{share}</b> deferred</span>"
_UNKNOWN = '<span class="line tone-warn">{unknown}</span>'
_TREND = (
    '<svg class="spark" viewBox="0 0 240 28" preserveAspectRatio="none" role="img" aria-label="{label}">'
    '<title>{label}</title><path d="{path}"/></svg>'
)
_FOLDED = (
    '<li><a class="cell folded" href="{url}" data-row><span class="inst">{number}</span>'
    '<span class="figures">{deferred} deferred{oldest}</span>'
    '<span class="sub">Show all of {slug}</span></a></li>'
)
_CLOSE = '<li><a class="cell folded" href="{url}" data-row>Fold what is normal</a></li>'
_HINT = markup(
    '<p class="hint">Open an instance to match it to a provider: until then its mail counts for none.</p>'
)


@dataclass(frozen=True, slots=True)
class Folded:
    """The instances of a provider that are not spelled out, and where they are."""

    number: str
    deferred: str
    oldest: str
    url: str


@dataclass(frozen=True, slots=True)
class Trend:
    """Deferred over the last day as an SVG path in a box of 240 by 28."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One provider: totals over its instances, the trend, and its cells."""

    slug: str
    name: str
    url: str
    deferred: str
    active: str
    oldest: str
    # Sent in the last hour, and the share that was deferred: "" where not known, or of too few.
    hour_sent: str
    hour_share: str
    unknown: str
    moment: str
    trend: Trend | None
    # One <li> for each instance that is spelled out.
    cells: list[Markup]
    folded: Folded | None
    # Where the row is folded again, when it was opened.
    close_url: str

    @property
    def html(self) -> Markup:
        """The row as a <tr>."""
        return markup(
            _ROW,
            slug=self.slug,
            name=markup(_NAME if self.url else _NO_NAME, url=self.url, slug=self.slug, name=self.name),
            deferred=self.deferred,
            active=self.active,
            oldest=markup(_OLDEST, oldest=self.oldest) if self.oldest else "",
            hour=self._hour(),
            unknown=markup(_UNKNOWN, unknown=self.unknown) if self.unknown else "",
            trend=markup(_TREND, label=self.trend.label, path=self.trend.path) if self.trend else "",
            age=self.moment,
            cells=joined(self.cells),
            last=self._last(),
            hint="" if self.url else _HINT,
        )

    def _hour(self) -> str:
        if not self.hour_sent:
            return ""
        share = markup(_SHARE, share=self.hour_share) if self.hour_share else ""
        return markup(_HOUR, sent=self.hour_sent, share=share)

    def _last(self) -> str:
        """Return what stands for the instances without a cell, or folds them again."""
        folded = self.folded
        if folded:
            return markup(
                _FOLDED,
                url=folded.url,
                number=folded.number,
                deferred=folded.deferred,
                oldest=f", oldest {folded.oldest}" if folded.oldest else "",
                slug=self.slug,
            )
        return markup(_CLOSE, url=self.close_url) if self.close_url else ""


# An hour's count changes every few minutes, while the page is asked for every few seconds.
@lru_cache(maxsize=1024)
def trend_of(hours: tuple[int | None, ...]) -> Trend | None:
    """Return the sparkline of TREND_HOURS counts, oldest first; None, an hour without data, is a gap.

    None where a single hour is known: that is no trend.
    """
    if sum(number is not None for number in hours) < 2:
        return None
    most = max((number for number in hours if number is not None), default=0)
    path, pen_down = [], False
    for hour, number in enumerate(hours):
        if number is None:
            pen_down = False
            continue
        x, y = hour * 240 / (TREND_HOURS - 1), 26 - 24 * number / (most or 1)
        # A lone hour between two gaps is a dash, not nothing.
        path.append(f"L{x:.0f} {y:.1f}" if pen_down else f"M{x:.0f} {y:.1f}h2")
        pen_down = True
    return Trend("".join(path), f"deferred by hour over a day: at most {most:,}")
