"""Charts as JSON for plotly."""

from hashlib import sha256
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.http import quote_etag

from relays.charts.outcomes import outcomes_figure
from relays.charts.zone import zone_at
from relays.selectors.flush_marks import flush_marks, marks_version
from relays.selectors.outcomes import Scope, counted, outcomes_over_time, version_tag
from relays.selectors.ranges import range_named

# Roll-ups are made every five minutes; in between only what the logs bring changes a chart.
_STEP_S = 300


def outcomes_chart(request: HttpRequest, scope: Scope) -> HttpResponse:
    """Return the figure of a scope's outcomes; 304 to a browser that has it as it is."""
    chosen = range_named(request.GET.get("range"))
    now = timezone.now()
    marks = flush_marks(scope, chosen, now)
    tag = f"{version_tag(scope, chosen, now, every_s=_STEP_S)} {marks_version(marks)}"
    etag = quote_etag(sha256(tag.encode()).hexdigest()[:16])
    known = get_conditional_response(request, etag=etag)
    if known is not None:
        return known
    spans = outcomes_over_time(scope, chosen, now, counted(scope, now).newest)
    # Up to the end of the span that goes on: half of its bar would be out of sight otherwise.
    last = (int(now.timestamp()) // chosen.span_s + 1) * chosen.span_s
    first = chosen.first(now, chosen.span_s)
    response = figure_response(outcomes_figure(spans, chosen.span_s, first, last, zone_at(now), marks=marks))
    response["ETag"] = etag
    patch_cache_control(response, private=True, no_cache=True)
    return response


def figure_response(figure: dict[str, Any]) -> HttpResponse:
    """Return a figure, which is a dict."""
    # Not by plotly, which would look at every number of it first.
    return HttpResponse(orjson.dumps(figure), content_type="application/json")
