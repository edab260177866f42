"""Changing a recipient domain's provider where its row is shown."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from relays.domain.words import visible
from relays.forms.domains import DomainProviderForm
from relays.models import RecipientDomain
from relays.selectors.domain_provider import domain_choices
from relays.services.providers import domain_assign
from relays.views.actors import actor_of

_SHOWN = "relays/_domain_provider.html"
_FORM = "relays/_domain_provider_form.html"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_provider", raise_exception=True)
def domain_provider(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form that gives a domain to a provider, and take it: in its row, or on a page of its own.

    ?shown: the row's cell as it was, for whoever changes nothing.
    """
    domain = get_object_or_404(RecipientDomain.objects.select_related("provider"), pk=pk)
    if request.method == "POST":
        return _assign(request, domain)
    if "shown" in request.GET:
        return render(request, _SHOWN, {"domain": domain, "focus": True})
    return _ask(request, domain)


def _assign(request: HttpRequest, domain: RecipientDomain) -> HttpResponse:
    form = DomainProviderForm(request.POST)
    if not form.is_valid():
        return _ask(request, domain, "There is no such provider any more: nothing was changed.")
    try:
        assigned = (
            domain_assign(domain=domain.name, provider=form.cleaned_data["provider"], actor=actor_of(request))
            or domain
        )
    except ValidationError as error:
        return _ask(request, domain, " ".join(error.messages))
    if request.headers.get("HX-Request"):
        return render(request, _SHOWN, {"domain": assigned, "changed": True, "focus": True})
    name, slug = visible(domain.name), assigned.provider.slug
    messages.success(request, f"{name} belongs to {slug}: its mail is counted there from now on.")
    return redirect("relays:provider", slug)


def _ask(request: HttpRequest, domain: RecipientDomain, error: str = "") -> HttpResponse:
    template = _FORM if request.headers.get("HX-Request") else "relays/domain_provider.html"
    context = {
        "domain": domain,
        "name": visible(domain.name),
        "mx_host": visible(domain.mx_host),
        "choices": domain_choices(domain),
        "error": error,
    }
    return render(request, template, context)
