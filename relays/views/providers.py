"""Pages over mailbox providers."""

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from relays.forms.providers import ProviderForm
from relays.models import Instance, Provider
from relays.selectors.instances import instance_rows
from relays.selectors.outcome_page import outcome_page
from relays.selectors.outcomes import version_tag
from relays.selectors.providers import instances_of, provider_rows
from relays.selectors.ranges import range_named
from relays.selectors.tables import PROVIDER_TABLES
from relays.services.providers import provider_save
from relays.views.actors import actor_of
from relays.views.exports import table_response
from relays.views.figures import outcomes_chart
from relays.views.polls import HtmxRequest, poll_url, still_true

INSTANCES_A_PAGE = 100


@require_safe
@permission_required("relays.view_provider", raise_exception=True)
def provider_list(request: HttpRequest) -> HttpResponse:
    """List all providers."""
    return render(request, "relays/provider_list.html", {"providers": provider_rows()})


@never_cache
@require_safe
@permission_required("relays.view_provider", raise_exception=True)
def provider_detail(request: HtmxRequest, slug: str) -> HttpResponse:
    """Show one provider: its instances, what became of its mail, its domains; ?range= is a key of RANGES."""
    provider = get_object_or_404(Provider, slug=slug)
    now = timezone.now()
    chosen = range_named(request.GET.get("range"))
    tag = version_tag(provider, chosen, now)
    if still_true(request, tag):
        return HttpResponse(status=204)
    page = Paginator(instances_of(provider), INSTANCES_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "provider": provider,
        "tag": tag,
        "poll_url": poll_url(request),
        "page": page,
        "instances": instance_rows(cast("QuerySet[Instance]", page.object_list), now),
        "outcomes": outcome_page(provider, chosen, now),
        "chart_url": reverse("relays:provider-chart", args=[slug]),
        "tables_url": f"{reverse('relays:provider', args=[slug])}tables/",
        "domains": list(provider.domains.values_list("domain", flat=True)),
        "suffixes": list(provider.mx_suffixes.values_list("suffix", flat=True)),
    }
    template = "relays/_provider.html" if request.htmx else "relays/provider_detail.html"
    return render(request, template, context)


@require_safe
@permission_required("relays.view_provider", raise_exception=True)
def provider_chart(request: HttpRequest, slug: str) -> HttpResponse:
    """Send a provider's outcomes over time as a plotly figure; ?range= is a key of RANGES."""
    return outcomes_chart(request, get_object_or_404(Provider, slug=slug))


@never_cache
@require_safe
@permission_required("relays.view_provider", raise_exception=True)
def provider_table(request: HttpRequest, slug: str, table: str) -> HttpResponseBase:
    """Show one table of a provider, or send it: ?format= is csv or json."""
    provider = get_object_or_404(Provider, slug=slug)
    make = PROVIDER_TABLES.get(table)
    if make is None:
        raise Http404
    chosen = range_named(request.GET.get("range"))
    crumbs = [
        ("Providers", reverse("relays:provider-list")),
        (slug, f"{reverse('relays:provider', args=[slug])}?range={chosen.key}"),
    ]
    return table_response(request, make(provider, chosen, timezone.now()), crumbs)


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
            saved = provider_save(provider=provider, actor=actor_of(request), **form.cleaned_data)
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
