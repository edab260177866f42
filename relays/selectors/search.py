"""Finding an instance, host, address, domain, provider or origin by a piece of its name."""

from dataclasses import dataclass
from ipaddress import ip_address

from django.db.models import Q
from django.urls import reverse

from relays.domain.words import visible
from relays.models import Host, Instance, Origin, Provider, ProviderDomain
from relays.selectors.readings import instance_urls

HITS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing found: what it is, its name, where it belongs, its page."""

    kind: str
    name: str
    detail: str
    url: str


def find(text: str) -> list[Hit]:
    """Return what `text` is part of, at most HITS_SHOWN of each kind; exact names come first."""
    wanted = text.strip().lower()
    if not wanted:
        return []
    hits = [*_hosts(wanted), *_instances(wanted), *_providers(wanted), *_domains(wanted), *_origins(wanted)]
    return sorted(hits, key=lambda hit: hit.name.lower() != wanted)


def _hosts(wanted: str) -> list[Hit]:
    found = Host.objects.filter(Q(name__icontains=wanted) | Q(ssh_address__icontains=wanted))[:HITS_SHOWN]
    return [
        Hit("host", host.name, host.ssh_address, reverse("relays:host", args=[host.name])) for host in found
    ]


def _instances(wanted: str) -> list[Hit]:
    wants = Q(name__icontains=wanted) | Q(myhostname__icontains=wanted) | Q(helo_name__icontains=wanted)
    wants |= Q(addresses__ip__startswith=wanted)
    if address := _canonical(wanted):
        wants |= Q(addresses__ip=address)
    found = Instance.objects.filter(wants).distinct().select_related("host").prefetch_related("addresses")
    url = instance_urls()
    return [
        Hit(
            "instance",
            visible(instance.name),
            ", ".join(
                [
                    instance.host.name,
                    *(address.ip for address in instance.addresses.all()),
                    *(["removed"] if instance.removed_at else []),
                ]
            ),
            url.format(instance.pk),
        )
        for instance in found.order_by("removed_at", "name", "pk")[:HITS_SHOWN]
    ]


def _canonical(wanted: str) -> str:
    """Return an IP address as the database holds it; "" for any other text."""
    try:
        return str(ip_address(wanted))
    except ValueError:
        return ""


def _providers(wanted: str) -> list[Hit]:
    found = Provider.objects.filter(Q(slug__icontains=wanted) | Q(name__icontains=wanted))[:HITS_SHOWN]
    return [
        Hit("provider", provider.slug, provider.name, reverse("relays:provider", args=[provider.slug]))
        for provider in found
    ]


def _domains(wanted: str) -> list[Hit]:
    found = ProviderDomain.objects.filter(domain__icontains=wanted).select_related("provider")[:HITS_SHOWN]
    return [
        Hit(
            "domain",
            domain.domain,
            domain.provider.slug,
            reverse("relays:provider", args=[domain.provider.slug]),
        )
        for domain in found
    ]


def _origins(wanted: str) -> list[Hit]:
    wants = Q(name__icontains=wanted) | Q(clients__ip__startswith=wanted)
    if address := _canonical(wanted):
        wants |= Q(clients__ip=address)
    found = Origin.objects.filter(wants).distinct().prefetch_related("clients")[:HITS_SHOWN]
    return [
        Hit(
            "origin",
            visible(origin.name),
            ", ".join(client.ip for client in origin.clients.all()),
            reverse("relays:origin", args=[origin.pk]),
        )
        for origin in found
    ]
