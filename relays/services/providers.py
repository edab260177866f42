"""Providers: the shipped ones, and what operators make of them."""

import json
from collections.abc import Iterable
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import transaction

from relays.domain.providers import BadDomain, normalise_domain
from relays.models import Provider, ProviderDomain, ProviderMxSuffix
from relays.services.instances import match_by_name

SHIPPED = Path(__file__).parents[1] / "data" / "providers.json"


def load_shipped() -> int:
    """Add the shipped providers that the tables do not have; return how many.

    A provider that is there, under its slug, stays as it is, whatever operators made of it; a domain that
    an operator gave to another one stays there.
    """
    shipped = json.loads(SHIPPED.read_text())["providers"]
    with transaction.atomic():
        known = set(Provider.objects.values_list("slug", flat=True))
        has_catch_all = Provider.objects.filter(catch_all=True).exists()
        new = [entry for entry in shipped if entry["slug"] not in known]
        for place, entry in enumerate(shipped):
            if entry["slug"] in known:
                continue
            provider = Provider.objects.create(
                slug=entry["slug"],
                name=entry["name"],
                position=10 * (place + 1),
                catch_all=bool(entry.get("catch_all")) and not has_catch_all,
            )
            _add_names(provider, entry["domains"], entry["mx"])
        match_by_name()
    return len(new)


def provider_save(
    *,
    provider: Provider | None = None,
    slug: str,
    name: str,
    position: int = 100,
    domains: Iterable[str] = (),
    mx_suffixes: Iterable[str] = (),
) -> Provider:
    """Make or change a provider with exactly these domains and MX suffixes.

    A domain or suffix belongs to one provider: taking another's is refused. Instances that were not
    matched by hand are matched anew. Raises django's ValidationError, keyed by field.
    """
    provider = provider or Provider()
    provider.slug, provider.name, provider.position = slug, name, position
    provider.full_clean()
    names = _normalised("domains", domains)
    suffixes = _normalised("mx_suffixes", mx_suffixes)
    with transaction.atomic():
        provider.save()
        _refuse_taken(provider, names, suffixes)
        provider.domains.exclude(domain__in=names).delete()
        provider.mx_suffixes.exclude(suffix__in=suffixes).delete()
        _add_names(provider, names, suffixes)
        match_by_name()
    return provider


def provider_remove(*, provider: Provider) -> None:
    """Forget a provider; its instances belong to none until their names match another.

    Raises django's ValidationError for the one that catches all else.
    """
    if provider.catch_all:
        raise ValidationError(f"{provider.name} catches every domain that no other provider claims.")
    with transaction.atomic():
        provider.delete()
        match_by_name()


def _add_names(provider: Provider, domains: Iterable[str], suffixes: Iterable[str]) -> None:
    ProviderDomain.objects.bulk_create(
        [ProviderDomain(domain=domain, provider=provider) for domain in domains], ignore_conflicts=True
    )
    ProviderMxSuffix.objects.bulk_create(
        [ProviderMxSuffix(suffix=suffix, provider=provider) for suffix in suffixes], ignore_conflicts=True
    )


def _normalised(field: str, names: Iterable[str]) -> list[str]:
    try:
        return list(dict.fromkeys(normalise_domain(name) for name in names))
    except BadDomain as error:
        raise ValidationError({field: str(error)}) from error


def _refuse_taken(provider: Provider, domains: list[str], suffixes: list[str]) -> None:
    taken_domains = ProviderDomain.objects.filter(domain__in=domains).exclude(provider=provider)
    taken_suffixes = ProviderMxSuffix.objects.filter(suffix__in=suffixes).exclude(provider=provider)
    for field, taken in (("domains", taken_domains), ("mx_suffixes", taken_suffixes)):
        first = taken.select_related("provider").first()
        if first is not None:
            raise ValidationError({field: f"{first.pk} belongs to {first.provider.name}."})
