"""Pages over origins and the clients that no origin claims."""

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from relays.domain.words import visible
from relays.forms.origins import AdoptForm, OriginForm
from relays.models import Client, Origin, Provider
from relays.selectors import origins as read
from relays.selectors.beside import origin_panels
from relays.services import origins as services
from relays.views.actors import actor_of
from relays.views.recent import recently_authenticated

CLIENTS_A_PAGE = 50


@require_safe
@permission_required("relays.view_origin", raise_exception=True)
def origin_list(request: HttpRequest) -> HttpResponse:
    """List origins, one provider's shares (?provider=), and the clients that wait for adoption."""
    now = timezone.now()
    page = Paginator(read.unclaimed(), CLIENTS_A_PAGE).get_page(request.GET.get("page"))
    slugs = read.providers_with_mail(now)
    asked = request.GET.get("provider")
    provider = Provider.objects.filter(slug=asked if asked in slugs else next(iter(slugs), "")).first()
    context = {
        "origins": read.origin_rows(now),
        "providers": slugs,
        "provider": provider,
        "shares": read.provider_shares(provider, now) if provider else None,
        "page": page,
        "clients": read.adoptable_rows(cast("QuerySet[Client]", page.object_list), now),
        "nobodys": read.nobodys_rows(now),
        "choices": read.origin_choices(),
    }
    return render(request, "relays/origin_list.html", context)


@require_safe
@permission_required("relays.view_origin", raise_exception=True)
def origin_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one origin: its addresses, and what it sent through which instance."""
    origin = get_object_or_404(Origin, pk=pk)
    now = timezone.now()
    context = {
        "origin": origin,
        "name": visible(origin.name),
        "clients": read.client_rows(origin.clients.all(), now),
        "shares": read.origin_shares(origin, now),
        "panels": origin_panels(origin, now),
    }
    return render(request, "relays/origin_detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.add_origin", raise_exception=True)
def origin_add(request: HttpRequest) -> HttpResponse:
    """Add an origin."""
    return _save(request, OriginForm(request.POST or None), None)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_origin", raise_exception=True)
def origin_change(request: HttpRequest, pk: int) -> HttpResponse:
    """Change an origin's name and its addresses."""
    origin = get_object_or_404(Origin, pk=pk)
    initial = {"name": origin.name, "addresses": "\n".join(origin.clients.values_list("ip", flat=True))}
    return _save(request, OriginForm(request.POST or None, initial=initial), origin)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.delete_origin", raise_exception=True)
@recently_authenticated()
def origin_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget an origin; its clients wait for adoption then."""
    origin = get_object_or_404(Origin, pk=pk)
    name = visible(origin.name)
    if request.method != "POST":
        context = {"origin": origin, "name": name, "clients": origin.clients.count()}
        return render(request, "relays/origin_remove.html", context)
    services.origin_remove(origin=origin, actor=actor_of(request))
    messages.success(request, f"{name} was removed.")
    return redirect("relays:origin-list")


@require_POST
@permission_required("relays.change_origin", raise_exception=True)
def client_adopt(request: HttpRequest, pk: int) -> HttpResponse:
    """Let an origin claim a client: the chosen one, or a new one that is called as the client is."""
    client = get_object_or_404(Client, pk=pk)
    form = AdoptForm(request.POST)
    if not form.is_valid():
        messages.error(request, "There is no such origin any more: nothing was changed.")
        return redirect("relays:origin-list")
    try:
        origin = _adopt(request, client, form.cleaned_data["origin"])
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{client.ip} belongs to {visible(origin.name)}.")
    return redirect("relays:origin-list")


def _adopt(request: HttpRequest, client: Client, origin: Origin | None) -> Origin:
    if origin is not None:
        services.clients_adopt(origin=origin, clients=[client], actor=actor_of(request))
        return origin
    if not request.user.has_perm("relays.add_origin"):
        raise PermissionDenied
    return services.origin_add(
        name=services.suggested_name(client), addresses=[client.ip], actor=actor_of(request)
    )


def _save(request: HttpRequest, form: OriginForm, origin: Origin | None) -> HttpResponse:
    title = f"Change {visible(origin.name)}" if origin else "Add an origin"
    if form.is_valid():
        try:
            if origin:
                saved = services.origin_change(origin=origin, actor=actor_of(request), **form.cleaned_data)
            else:
                saved = services.origin_add(actor=actor_of(request), **form.cleaned_data)
        except ValidationError as error:
            _take_errors(form, error)
        else:
            messages.success(request, f"{visible(saved.name)} was saved.")
            return redirect("relays:origin", saved.pk)
    return render(request, "relays/origin_form.html", {"form": form, "title": title, "origin": origin})


def _take_errors(form: OriginForm, error: ValidationError) -> None:
    """Show a service's refusal beside the field it names."""
    for field, texts in error.message_dict.items():
        form.add_error(field if field in form.fields else None, texts)
