"""Reading providers."""

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from relays.models import Instance, Provider


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One line of the table of providers."""

    slug: str
    name: str
    catch_all: bool
    domains: str
    mx_suffixes: str
    instances: str


def provider_rows() -> list[ProviderRow]:
    """Return all providers in the matrix' order, in one query."""
    providers = Provider.objects.annotate(
        domain_count=Count("domains", distinct=True),
        suffix_count=Count("mx_suffixes", distinct=True),
        instance_count=Count("instances", distinct=True, filter=Q(instances__removed_at=None)),
    ).order_by("position", "slug")
    return [
        ProviderRow(
            provider.slug,
            provider.name,
            provider.catch_all,
            f"{provider.domain_count:,}",
            f"{provider.suffix_count:,}",
            f"{provider.instance_count:,}",
        )
        for provider in providers
    ]


def instances_of(provider: Provider) -> QuerySet[Instance]:
    """Return the provider's present instances by name."""
    return Instance.objects.filter(provider=provider, removed_at=None).order_by("name", "host__name")
