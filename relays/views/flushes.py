"""Pages of a flush: choose what goes where, and take the receipt. The rest is its operation's."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from relays.domain.flush import MOST_A_MINUTE
from relays.domain.words import visible
from relays.models import Flush, Instance, Operation
from relays.remote.errors import RemoteError
from relays.selectors.flushes import choice_page, recipients_table
from relays.services import flush_steering, operations
from relays.services.kinds import PlanRefused
from relays.services.operations import NotAllowed
from relays.views.actors import actor_of, user_of
from relays.views.exports import table_response

# Of a 64-bit id; int() refuses very many digits.
_MAX_ID_DIGITS = 18


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.flush", raise_exception=True)
def flush_new(request: HttpRequest, pk: int) -> HttpResponse:
    """Choose domains and a target, and have the plan made. ?domain=, ?target= are chosen beforehand."""
    instance = get_object_or_404(Instance.objects.select_related("host"), pk=pk, removed_at=None)
    asked = request.POST if request.method == "POST" else request.GET
    domains = [*asked.getlist("domain"), *asked.get("domains", "").replace(",", " ").split()]
    target, rate = asked.get("target", ""), asked.get("rate", "")
    if request.method == "POST":
        try:
            operation = operations.plan(
                kind="flush",
                instance=instance,
                params={"target": target, "domains": domains, "rate": rate},
                user=user_of(request),
                actor=actor_of(request),
            )
        except NotAllowed as error:
            raise PermissionDenied(str(error)) from error
        except (PlanRefused, RemoteError) as error:
            messages.error(request, f"Nothing was planned for {visible(instance.name)}: {error}")
        else:
            return redirect("relays:operation", operation.pk)
    is_id = target.isdecimal() and len(target) <= _MAX_ID_DIGITS
    page = choice_page(instance, timezone.now(), domains=domains, target=int(target) if is_id else 0)
    return render(request, "relays/flush_new.html", {"page": page, "rate": rate, "most": MOST_A_MINUTE})


@require_POST
@permission_required("relays.view_operation", raise_exception=True)
def flush_steer(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause a flush that runs, have it go on, or give it another rate."""
    operation = get_object_or_404(Operation.objects.select_related("instance__host"), pk=pk, kind="flush")
    user, actor, what = user_of(request), actor_of(request), request.POST.get("what", "")
    try:
        if what == "pause":
            flush_steering.pause(operation=operation, user=user, actor=actor)
        elif what == "resume":
            flush_steering.resume(operation=operation, user=user, actor=actor)
        else:
            rate = request.POST.get("rate", "")
            flush_steering.throttle(operation=operation, user=user, actor=actor, rate=rate)
    except NotAllowed as error:
        raise PermissionDenied(str(error)) from error
    except PlanRefused as error:
        messages.error(request, str(error))
    return redirect("relays:operation", pk)


@never_cache
@require_safe
@permission_required("relays.view_operation", raise_exception=True)
def flush_recipients(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show the receipt's recipients, or send them: ?format= is csv or json."""
    flush = get_object_or_404(Flush, pk=pk)
    table = recipients_table(flush, masked=not user_of(request).has_perm("relays.flush"))
    return table_response(request, table, [(f"Flush {pk}", reverse("relays:operation", args=[pk]))])
