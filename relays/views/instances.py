"""Pages over one instance."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from plotly.io import to_json

from relays.charts.ages import ages_figure
from relays.charts.counts import Count, counts_figure
from relays.domain.words import visible
from relays.forms.instances import MatchForm
from relays.models import Instance
from relays.selectors.history import DEFAULT_RANGE, RANGES, counts_over_time
from relays.selectors.instances import AGES, age_table, instance_page, newest_snapshot
from relays.services.instances import instance_match as match
from relays.services.instances import instance_match_by_name as match_by_name


def _instance(pk: int) -> Instance:
    return get_object_or_404(Instance.objects.select_related("host", "provider", "state"), pk=pk)


@require_safe
def instance_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one instance: its queue, the replies to it, how it is set up."""
    instance = _instance(pk)
    by_hand = instance.provider if instance.provider_by_hand else None
    context = {
        "page": instance_page(instance, timezone.now()),
        "ages": AGES,
        "ranges": [(key, chosen.label) for key, chosen in RANGES.items()],
        "form": MatchForm(initial={"provider": by_hand.slug if by_hand else ""}),
    }
    return render(request, "relays/instance_detail.html", context)


@require_POST
@permission_required("relays.change_instance", raise_exception=True)
def instance_match(request: HttpRequest, pk: int) -> HttpResponse:
    """Match an instance to a provider by hand, or to the one its name says."""
    instance = _instance(pk)
    form = MatchForm(request.POST)
    if not form.is_valid():
        messages.error(request, "There is no such provider: nothing was changed.")
    elif provider := form.cleaned_data["provider"]:
        match(instance=instance, provider=provider)
        messages.success(request, f"{visible(instance.name)} carries mail for {provider.slug}.")
    else:
        match_by_name(instance=instance)
        slug = instance.provider.slug if instance.provider else "no provider"
        messages.success(request, f"By its name, {visible(instance.name)} carries mail for {slug}.")
    return redirect("relays:instance", pk)


@never_cache
@require_safe
def counts_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the queues over time as a plotly figure; ?range= is a key of RANGES."""
    chosen = RANGES.get(request.GET.get("range", DEFAULT_RANGE), RANGES[DEFAULT_RANGE])
    rows = counts_over_time(_instance(pk), chosen, timezone.now())
    return _figure(counts_figure([Count._make(row) for row in rows], chosen.span_s))


@never_cache
@require_safe
def ages_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the queue by domain and age as a plotly figure."""
    _, body = newest_snapshot(_instance(pk))
    table = age_table(body)
    if table is None:
        return _figure(ages_figure([], list(AGES), []))
    return _figure(ages_figure(table.domains, list(AGES), table.counts))


def _figure(figure: dict[str, Any]) -> HttpResponse:
    # validate=False: the figure is a dict by now, and plotly's model would cost every page 40 MB.
    return HttpResponse(to_json(figure, validate=False, engine="orjson"), content_type="application/json")
