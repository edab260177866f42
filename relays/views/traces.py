"""Pages over traces: ask where a message is, watch the hosts search, see its way."""

from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from relays.domain.trace_question import Question
from relays.forms.traces import TraceForm
from relays.models import Trace
from relays.selectors.trace_files import document, trace_table
from relays.selectors.trace_found import stored
from relays.selectors.traces import recent, trace_page
from relays.services.traces import SEE_ADDRESSES, NotAllowed, trace_ask, trace_send_again, trace_stop
from relays.services.tracing import places
from relays.views.actors import actor_of, user_of
from relays.views.exports import table_response
from relays.views.polls import HtmxRequest, still_true


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def trace_form(request: HttpRequest) -> HttpResponse:
    """Show the form, filled in as the address says, and what this user asked before."""
    form = TraceForm(may_see=_may_see(request), initial=request.GET)
    return _show_form(request, form)


@require_POST
@permission_required("relays.view_instance", raise_exception=True)
def trace_begin(request: HttpRequest) -> HttpResponse:
    """Have the hosts search."""
    form = TraceForm(request.POST, may_see=_may_see(request))
    question = form.question(timezone.localtime())
    if question is None:
        return _show_form(request, form, status=400)
    try:
        trace = trace_ask(question=question, user=user_of(request), actor=actor_of(request))
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    return redirect("relays:trace", trace.pk)


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def trace_detail(request: HtmxRequest, pk: int) -> HttpResponseBase:
    """Show what was found so far; ?format=json and csv as files."""
    trace = _own(request, pk)
    trace_send_again(trace=trace)
    if request.htmx and still_true(request, f"{trace.pk}-{trace.version}"):
        return HttpResponse(status=204)
    result = stored(trace, places(), may_see=_may_see(request))
    match request.GET.get("format"):
        case "json":
            asked = Question(trace.kind, trace.text, trace.since, trace.until)
            told = document(asked, trace.state, trace.hosts, result, cut=trace.cut)
            name = f'attachment; filename="trace-{trace.pk}.json"'
            return JsonResponse(told, headers={"Content-Disposition": name})
        case "csv":
            return table_response(request, trace_table(trace, result), [])
    context = {"page": trace_page(trace, result, timezone.now())}
    return render(request, "relays/_trace.html" if request.htmx else "relays/trace.html", context)


@require_POST
@permission_required("relays.view_instance", raise_exception=True)
def trace_end(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a search; what was found stays."""
    trace_stop(trace=_own(request, pk))
    return redirect("relays:trace", pk)


def _own(request: HttpRequest, pk: int) -> Trace:
    """Return one of this user's traces; others' are nobody else's business."""
    return get_object_or_404(Trace, pk=pk, asked_by=user_of(request).pk)


def _may_see(request: HttpRequest) -> bool:
    return user_of(request).has_perm(SEE_ADDRESSES)


def _show_form(request: HttpRequest, form: TraceForm, *, status: int = 200) -> HttpResponse:
    pk = user_of(request).pk
    context = {"form": form, "recent": recent(pk, timezone.now()), "may_see": _may_see(request)}
    return render(request, "relays/trace_form.html", context, status=status)
