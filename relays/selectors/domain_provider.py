"""Reading what a recipient domain can be given to."""

from dataclasses import dataclass

from relays.models import Provider, ProviderDomain, RecipientDomain
from relays.services.providers import provider_table


@dataclass(frozen=True, slots=True)
class DomainChoices:
    """All providers by slug, the one that has the domain by its name ("": none), and whose it is else."""

    slugs: list[str]
    named: str
    otherwise: str


def domain_choices(domain: RecipientDomain) -> DomainChoices:
    """Return what a recipient domain can be given to."""
    slugs = dict(Provider.objects.values_list("pk", "slug"))
    by_name = ProviderDomain.objects.filter(domain=domain.name).values_list("provider_id", flat=True).first()
    by_host = provider_table().of_domain("", domain.mx_host)
    return DomainChoices(list(slugs.values()), slugs.get(by_name or 0, ""), slugs.get(by_host or 0, ""))
