"""Pages that ask again whether they are still true."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails


class HtmxRequest(HttpRequest):
    """A request that django-htmx has looked at."""

    htmx: HtmxDetails


def still_true(request: HtmxRequest, tag: str) -> bool:
    """Whether this is a poll of a page that shows what the tag stands for: 204 is its answer."""
    return bool(request.htmx) and request.GET.get("tag") == tag


def poll_url(request: HttpRequest) -> str:
    """Return the address that a page polls: its own, without the tag that each poll brings."""
    query = request.GET.copy()
    query.pop("tag", None)
    return f"{request.path}?{query.urlencode()}" if query else request.path
