"""Pages over mailbox providers."""

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from relays.forms.providers import ProviderForm
from relays.models import Instance, Provider
from relays.selectors.instances import instance_rows
from relays.selectors.providers import instances_of, provider_rows
from relays.services.providers import provider_save

INSTANCES_A_PAGE = 100


@require_safe
def provider_list(request: HttpRequest) -> HttpResponse:
    """List all providers."""
    return render(request, "relays/provider_list.html", {"providers": provider_rows()})


@require_safe
def provider_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one provider: its instances, its domains and MX suffixes."""
    provider = get_object_or_404(Provider, slug=slug)
    page = Paginator(instances_of(provider), INSTANCES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "provider": provider,
        "page": page,
        "instances": instance_rows(cast("QuerySet[Instance]", page.object_list), timezone.now()),
        "domains": list(provider.domains.values_list("domain", flat=True)),
        "suffixes": list(provider.mx_suffixes.values_list("suffix", flat=True)),
    }
    return render(request, "relays/provider_detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.add_provider", raise_exception=True)
def provider_add(request: HttpRequest) -> HttpResponse:
    """Add a provider."""
    return _save(request, ProviderForm(request.POST or None), None)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_provider", raise_exception=True)
def provider_change(request: HttpRequest, slug: str) -> HttpResponse:
    """Change a provider, its domains and its MX suffixes."""
    provider = get_object_or_404(Provider, slug=slug)
    initial = {
        "slug": provider.slug,
        "name": provider.name,
        "position": provider.position,
        "domains": "\n".join(provider.domains.values_list("domain", flat=True)),
        "mx_suffixes": "\n".join(provider.mx_suffixes.values_list("suffix", flat=True)),
    }
    return _save(request, ProviderForm(request.POST or None, initial=initial), provider)


def _save(request: HttpRequest, form: ProviderForm, provider: Provider | None) -> HttpResponse:
    title = f"Change {provider.slug}" if provider else "Add a provider"
    if form.is_valid():
        try:
            saved = provider_save(provider=provider, **form.cleaned_data)
        except ValidationError as error:
            _take_errors(form, error)
        else:
            messages.success(request, f"{saved.slug} was saved.")
            return redirect("relays:provider", saved.slug)
    return render(request, "relays/provider_form.html", {"form": form, "title": title})


def _take_errors(form: ProviderForm, error: ValidationError) -> None:
    """Show a service's refusal beside the field it names."""
    for field, texts in error.message_dict.items():
        form.add_error(field if field in form.fields else None, texts)
