"""Pages over operations: ask, confirm, watch, stop."""

import re
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from relays.domain.filters import KEYS
from relays.domain.words import visible
from relays.forms.operations import ConfirmForm, FilterForm
from relays.models import Instance, Operation
from relays.models.operation import OperationState
from relays.remote.errors import RemoteError
from relays.selectors.operations import operation_page, operation_rows, search
from relays.services import operations
from relays.services.kinds import PlanRefused, all_kinds
from relays.services.operations import KeyReused, NotAllowed
from relays.views.actors import actor_of, user_of
from relays.views.recent import recently_authenticated

OPERATIONS_A_PAGE = 50
_KEY = re.compile(r"\A[\w-]{1,80}\Z", re.ASCII)
_NO_PARAMS = {"csrfmiddlewaretoken"}


@require_safe
@permission_required("relays.view_operation", raise_exception=True)
def operation_list(request: HttpRequest) -> HttpResponse:
    """List operations, newest first."""
    form = FilterForm(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    page = Paginator(search(**chosen), OPERATIONS_A_PAGE).get_page(request.GET.get("page"))
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "page": page,
        "rows": operation_rows(page.object_list, timezone.now()),
        "chosen": chosen,
        "filtered": any(chosen.values()),
        "states": OperationState.choices,
        "kinds": [(kind.name, kind.title) for kind in all_kinds()],
        "query": query.urlencode(),
    }
    return render(request, "relays/operation_list.html", context)


@never_cache
@require_safe
@permission_required("relays.view_operation", raise_exception=True)
def operation_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one operation; to a poll only what changed, or 204 where nothing did."""
    operation = get_object_or_404(Operation, pk=pk)
    page = operation_page(operation, timezone.now(), user_of(request).has_perm)
    if "HX-Request" not in request.headers:
        initial = {"plan_hash": operation.plan_hash, "reason": operation.plan.get("reason", "")}
        return _show(request, operation, ConfirmForm(initial=initial))
    if request.GET.get("tag") == page.tag:
        return HttpResponse(status=204)
    return render(request, "relays/_operation.html", {"page": page})


@require_POST
def operation_plan(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """Look at the host and show what would be done. The other fields of the form are the parameters.

    A program that may ask twice sends an Idempotency-Key: the same request is the same operation.
    """
    instance = get_object_or_404(Instance.objects.select_related("host"), pk=pk, removed_at=None)
    params = {name: value for name, value in request.POST.items() if name not in _NO_PARAMS and value}
    key = request.headers.get("Idempotency-Key", "")
    if key and not _KEY.match(key):
        return HttpResponse("An Idempotency-Key has 1 to 80 letters, digits, - and _.", status=400)
    try:
        operation = operations.plan(
            kind=kind,
            instance=instance,
            params=params,
            user=user_of(request),
            actor=actor_of(request),
            idempotency_key=key or None,
        )
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except KeyReused as error:
        return HttpResponse(str(error), status=409, content_type="text/plain; charset=utf-8")
    except (PlanRefused, RemoteError) as error:
        messages.error(request, f"Nothing was planned for {visible(instance.name)}: {error}")
        if kind.startswith("message."):
            words = {key: value for key, value in params.items() if key in KEYS}
            return redirect(f"{reverse('relays:queues')}?{urlencode({'instance': pk, **words})}")
        return redirect("relays:instance", pk)
    return redirect("relays:operation", operation.pk)


@require_POST
@permission_required("relays.view_operation", raise_exception=True)
@recently_authenticated("relays:operation")
def operation_confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a planned operation run."""
    operation = get_object_or_404(Operation.objects.select_related("instance__host"), pk=pk)
    form = ConfirmForm(request.POST)
    if not form.is_valid():
        return _show(request, operation, form, status=400)
    try:
        operations.confirm(
            operation=operation, user=user_of(request), actor=actor_of(request), **form.cleaned_data
        )
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except PlanRefused as error:
        form.add_error(None, str(error))
        return _show(request, operation, form, status=409)
    return redirect("relays:operation", pk)


@require_POST
@permission_required("relays.view_operation", raise_exception=True)
def operation_abort(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a live operation."""
    operation = get_object_or_404(Operation.objects.select_related("instance__host"), pk=pk)
    try:
        operations.abort(operation=operation, user=user_of(request), actor=actor_of(request))
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    return redirect("relays:operation", pk)


def _show(
    request: HttpRequest, operation: Operation, form: ConfirmForm, *, status: int = 200
) -> HttpResponse:
    page = operation_page(operation, timezone.now(), user_of(request).has_perm)
    return render(request, "relays/operation_detail.html", {"page": page, "form": form}, status=status)
