"""Pages over the audit trail."""

from django.contrib.auth.decorators import permission_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from relays.forms.audit import AuditFilterForm
from relays.selectors.audit_events import event_rows, search
from relays.services.audit_export import FORMATS, export
from relays.views.actors import actor_of

EVENTS_A_PAGE = 100
PHASES = ("requested", "begun", "succeeded", "failed", "unknown", "denied", "reverted", "noted")


@require_safe
@permission_required("relays.view_auditevent", raise_exception=True)
def audit_list(request: HttpRequest) -> HttpResponse:
    """List events, newest first."""
    form = AuditFilterForm(request.GET)
    form.is_valid()
    chosen = {name: value for name, value in form.cleaned_data.items() if value}
    page = Paginator(search(**chosen), EVENTS_A_PAGE).get_page(request.GET.get("page"))
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "form": form,
        "page": page,
        "rows": event_rows(page.object_list, timezone.now()),
        "filtered": bool(chosen),
        "phases": PHASES,
        "query": query.urlencode(),
    }
    return render(request, "relays/audit_list.html", context)


@require_POST
@permission_required("relays.export_audit", raise_exception=True)
def audit_export(request: HttpRequest) -> HttpResponseBase:
    """Give the events of a filter as a file. A POST, because it writes an event of its own."""
    form = AuditFilterForm(request.GET)
    form.is_valid()
    chosen = {name: value for name, value in form.cleaned_data.items() if value}
    kind = request.POST.get("format", "")
    if kind not in FORMATS:
        return HttpResponse("There is no such format.", status=400, content_type="text/plain")
    return StreamingHttpResponse(
        export(search(**chosen), kind, actor=actor_of(request)),
        content_type="text/csv; charset=utf-8" if kind == "csv" else "application/x-ndjson",
        headers={
            "Content-Disposition": f'attachment; filename="audit.{kind}"',
            "Cache-Control": "no-store",
        },
    )
