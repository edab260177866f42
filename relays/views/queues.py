"""Pages over queues: find messages, count them, look at one, act on all that a filter takes."""

import json
from collections.abc import Callable
from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from relays.domain.filters import BadFilter, QueueFilter, to_words
from relays.domain.queue_reading import Groups
from relays.domain.words import visible
from relays.forms.queues import QueueForm
from relays.models import Instance, PendingDeletion, Provider
from relays.models.message import ReadState
from relays.remote.errors import RemoteError
from relays.selectors.headers import body_lines, header_lines
from relays.selectors.queue_groups import BY
from relays.selectors.queue_tables import groups_table, messages_table
from relays.selectors.queues import (
    MOST_INSTANCES,
    Asked,
    Scope,
    message_page,
    queue_page,
    queue_url,
)
from relays.services import deletions, queue_reads
from relays.services.headers import BodyNotAllowed, body_read, headers_read
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from relays.services.reasons import rule_table
from relays.views.actors import actor_of, user_of
from relays.views.exports import table_response
from relays.views.polls import HtmxRequest, poll_url, still_true
from relays.views.recent import recently_authenticated

SEE = "relays.see_addresses"


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def queues(request: HtmxRequest) -> HttpResponseBase:
    """Show the queues of an instance, a provider or the fleet, as far as they are read."""
    scope, may_see = _scope(request), user_of(request).has_perm(SEE)
    reasons = sorted(((r.slug, r.title) for r in rule_table().reasons.values()), key=lambda pair: pair[1])
    form = QueueForm(request.GET.dict(), reasons=reasons, may_see=may_see)
    try:
        wanted, error = form.wanted(), ""
    except BadFilter as refusal:
        wanted, error = QueueFilter(), f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
    if error:
        return render(
            request, "relays/queues.html", {"form": form, "error": error, "scope": scope}, status=400
        )
    asked = _ask(request, scope, wanted, may_see)
    if request.GET.get("format") in ("csv", "json"):
        return _file(request, asked)
    now = timezone.now()
    page = queue_page(asked, now, instances=scope.instances().count())
    if still_true(request, page.tag):
        return HttpResponse(status=204)
    context = {"page": page, "form": form, "scope": scope, "poll_url": poll_url(request)}
    return render(request, "relays/_queues.html" if request.htmx else "relays/queues.html", context)


def _scope(request: HttpRequest) -> Scope:
    if number := request.GET.get("instance"):
        if not number.isdecimal() or len(number) > 18:
            raise Http404
        found = Instance.objects.select_related("host", "provider", "state")
        return Scope(instance=get_object_or_404(found, pk=number, removed_at=None))
    if slug := request.GET.get("provider"):
        return Scope(provider=get_object_or_404(Provider, slug=slug.replace("\0", "")))
    return Scope()


def _ask(request: HtmxRequest, scope: Scope, wanted: QueueFilter, may_see: bool) -> Asked:
    """Have what the page shows read, where that is not known, or too old and the page newly opened."""
    by = request.GET.get("by", "")
    fresh = not request.htmx
    cursor = request.GET.get("cursor", "")[:60]
    shown = scope.instances()[:MOST_INSTANCES]
    groups = [
        queue_reads.ask(instance=instance, what=queue_reads.GROUPS, wanted=wanted, fresh=fresh)
        for instance in shown
    ]
    page = None
    if scope.instance is not None and request.GET.get("show") == "messages":
        page = queue_reads.ask(
            instance=scope.instance, what=queue_reads.MESSAGES, wanted=wanted, cursor=cursor, fresh=fresh
        )
    return Asked(scope, wanted, by if by in BY else "domain", cursor, may_see, groups, page)


def _file(request: HttpRequest, asked: Asked) -> HttpResponseBase:
    """Send a table; 202 while it is being read: a program asks again. 503 where nothing of it could be."""
    reads = [asked.page] if asked.page else asked.groups
    if any(not read.body and read.state != ReadState.FAILED for read in reads):
        return JsonResponse({"state": "reading"}, status=202)
    if reads and not any(read.body for read in reads):
        return JsonResponse({"state": "failed", "error": visible(reads[0].error)}, status=503)
    if asked.page is not None:
        return table_response(request, messages_table(asked.page, may_see=asked.may_see), [])
    known = [(read.instance, Groups.from_json(json.loads(read.body))) for read in reads if read.body]
    name = asked.scope.instance.name if asked.scope.instance else "queues"
    return table_response(request, groups_table(name, asked.by, known, may_see=asked.may_see), [])


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def message(request: HtmxRequest, pk: int, queue_id: str) -> HttpResponse:
    """Show one message of a queue, without its body."""
    return _message(request, pk, queue_id)


@require_POST
@permission_required("relays.read_headers", raise_exception=True)
def headers(request: HtmxRequest, pk: int, queue_id: str) -> HttpResponse:
    """Show one message with its headers; that they were read is written down, here and on the host."""
    return _message(request, pk, queue_id, more=_headers)


@require_POST
@permission_required("relays.read_body", raise_exception=True)
@recently_authenticated(back="relays:message")
def body(request: HttpRequest, pk: int, queue_id: str) -> HttpResponse:
    """Show one message with its body, where root and an administrator allow that; it is written down."""
    return _message(cast("HtmxRequest", request), pk, queue_id, more=_body)


More = Callable[[HtmxRequest, Instance, str], dict[str, object]]


def _headers(request: HtmxRequest, instance: Instance, queue_id: str) -> dict[str, object]:
    try:
        found = headers_read(instance=instance, queue_id=queue_id, actor=actor_of(request))
    except RemoteError as error:
        messages.error(request, f"Its headers could not be read: {error}")
        return {}
    return {"headers": header_lines(found.lines), "cut": found.cut}


def _body(request: HtmxRequest, instance: Instance, queue_id: str) -> dict[str, object]:
    try:
        found = body_read(instance=instance, queue_id=queue_id, actor=actor_of(request))
    except BodyNotAllowed as error:
        raise PermissionDenied(
            "No administrator has allowed bodies of this host's messages to be read."
        ) from error
    except RemoteError as error:
        messages.error(request, f"Its body could not be read: {error}")
        return {}
    return {"body": body_lines(found.lines), "body_cut": found.cut}


def _message(request: HtmxRequest, pk: int, queue_id: str, *, more: More | None = None) -> HttpResponse:
    found = Instance.objects.select_related("host", "provider", "state")
    instance = get_object_or_404(found, pk=pk, removed_at=None)
    may_see = user_of(request).has_perm(SEE)
    try:
        wanted = QueueForm({"id": queue_id}, reasons=[], may_see=may_see).wanted()
    except BadFilter as error:
        raise Http404 from error
    read = queue_reads.ask(
        instance=instance, what=queue_reads.MESSAGES, wanted=wanted, fresh=not request.htmx
    )
    page = message_page(read, queue_id, timezone.now(), may_see=may_see)
    if still_true(request, page.tag):
        return HttpResponse(status=204)
    context: dict[str, object] = {
        "page": page,
        "instance": instance,
        "scope": Scope(instance=instance),
        "queue_url": queue_url(Scope(instance=instance), {}),
        "words": to_words(wanted),
        "poll_url": poll_url(request),
    }
    if more is not None:
        context |= more(request, instance, queue_id)
    return render(request, "relays/_message.html" if request.htmx else "relays/message.html", context)


@require_POST
@permission_required("relays.act_on_messages", raise_exception=True)
def deletion_undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep messages from being deleted, and release them."""
    pending = get_object_or_404(PendingDeletion.objects.select_related("operation"), pk=pk)
    try:
        begun = deletions.undo(pending=pending, user=user_of(request), actor=actor_of(request))
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except PlanRefused as error:
        messages.error(request, str(error))
        return redirect("relays:operation", pending.operation_id)
    pending.refresh_from_db()
    if begun and pending.follow_up_id is not None:
        messages.success(request, "They will not be deleted, and are being released.")
        return redirect("relays:operation", pending.follow_up_id)
    messages.success(
        request,
        "They will not be deleted. They are released when the operation that changes the instance ends.",
    )
    return redirect("relays:operation", pending.operation_id)
