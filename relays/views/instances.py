"""Pages over one instance."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from relays.charts.ages import ages_figure
from relays.charts.counts import Count, counts_figure
from relays.charts.zone import zone_at
from relays.domain.words import visible
from relays.forms.instances import MatchForm
from relays.models import Instance
from relays.selectors.beside import address_page, facts_beside, instance_panels
from relays.selectors.history import counts_over_time
from relays.selectors.instances import AGES, age_table, instance_page, newest_snapshot
from relays.selectors.outcome_page import outcome_page
from relays.selectors.outcomes import version_tag
from relays.selectors.ranges import range_named
from relays.selectors.rates import rate_of
from relays.selectors.tables import INSTANCE_TABLES
from relays.services.instances import instance_match as match
from relays.services.instances import instance_match_by_name as match_by_name
from relays.views.actors import actor_of
from relays.views.exports import table_response
from relays.views.figures import figure_response, outcomes_chart
from relays.views.polls import HtmxRequest, poll_url, still_true


def _instance(pk: int) -> Instance:
    return get_object_or_404(Instance.objects.select_related("host", "provider", "state"), pk=pk)


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def instance_detail(request: HtmxRequest, pk: int) -> HttpResponse:
    """Show one instance: its queue, what became of its mail, how it is set up; ?range= is a key of RANGES."""
    instance = _instance(pk)
    now = timezone.now()
    chosen = range_named(request.GET.get("range"))
    tag = version_tag(instance, chosen, now)
    if still_true(request, tag):
        return HttpResponse(status=204)
    by_hand = instance.provider if instance.provider_by_hand else None
    context = {
        "tag": tag,
        "poll_url": poll_url(request),
        "panels": instance_panels(instance, now),
        "page": (page := instance_page(instance, now)),
        "addresses": [(address, address_page(address)) for address in page.addresses],
        "fact": facts_beside(now).get(pk),
        "ages": AGES,
        "outcomes": outcome_page(instance, chosen, now),
        "chart_url": reverse("relays:instance-chart", args=[pk]),
        "tables_url": f"{reverse('relays:instance', args=[pk])}tables/",
        "rate": rate_of(instance, now),
        "form": MatchForm(initial={"provider": by_hand.slug if by_hand else ""}),
    }
    template = "relays/_instance.html" if request.htmx else "relays/instance_detail.html"
    return render(request, template, context)


@require_POST
@permission_required("relays.change_instance", raise_exception=True)
def instance_match(request: HttpRequest, pk: int) -> HttpResponse:
    """Match an instance to a provider by hand, or to the one its name says."""
    instance = _instance(pk)
    form = MatchForm(request.POST)
    if not form.is_valid():
        messages.error(request, "There is no such provider: nothing was changed.")
    elif provider := form.cleaned_data["provider"]:
        match(instance=instance, provider=provider, actor=actor_of(request))
        messages.success(request, f"{visible(instance.name)} carries mail for {provider.slug}.")
    else:
        match_by_name(instance=instance, actor=actor_of(request))
        slug = instance.provider.slug if instance.provider else "no provider"
        messages.success(request, f"By its name, {visible(instance.name)} carries mail for {slug}.")
    return redirect("relays:instance", pk)


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def counts_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the queues over time as a plotly figure; ?range= is a key of RANGES."""
    chosen = range_named(request.GET.get("range"))
    now = timezone.now()
    counts = [Count._make(row) for row in counts_over_time(_instance(pk), chosen, now)]
    return figure_response(counts_figure(counts, chosen.sample_span_s, zone_at(now)))


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def ages_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the queue by domain and age as a plotly figure."""
    _, body = newest_snapshot(_instance(pk))
    table = age_table(body)
    if table is None:
        return figure_response(ages_figure([], list(AGES), []))
    return figure_response(ages_figure(table.domains, list(AGES), table.counts))


@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def instance_chart(request: HttpRequest, pk: int) -> HttpResponse:
    """Send an instance's outcomes over time as a plotly figure; ?range= is a key of RANGES."""
    return outcomes_chart(request, _instance(pk))


@never_cache
@require_safe
@permission_required("relays.view_instance", raise_exception=True)
def instance_table(request: HttpRequest, pk: int, table: str) -> HttpResponseBase:
    """Show one table of an instance, or send it: ?format= is csv or json."""
    instance = _instance(pk)
    make = INSTANCE_TABLES.get(table)
    if make is None:
        raise Http404
    chosen = range_named(request.GET.get("range"))
    crumbs = [
        (instance.host.name, reverse("relays:host", args=[instance.host.name])),
        (visible(instance.name), f"{reverse('relays:instance', args=[pk])}?range={chosen.key}"),
    ]
    return table_response(request, make(instance, chosen, timezone.now()), crumbs)
