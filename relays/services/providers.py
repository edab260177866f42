"""Providers: the shipped ones, and what operators make of them."""

import json
from collections.abc import Iterable
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from relays.domain.providers import BadDomain, ProviderTable, normalise_domain
from relays.models import Provider, ProviderDomain, ProviderMxSuffix, RecipientDomain
from relays.services.audit import SYSTEM, Actor, Subject, record_change
from relays.services.instances import match_by_name

SHIPPED = Path(__file__).parents[1] / "data" / "providers.json"
_UPDATED_AT_ONCE = 500


def shipped_table() -> ProviderTable[str]:
    """Return the shipped providers' names by slug, without a database."""
    shipped = json.loads(SHIPPED.read_text())["providers"]
    return ProviderTable(
        domains={domain: entry["slug"] for entry in shipped for domain in entry["domains"]},
        mx_suffixes={suffix: entry["slug"] for entry in shipped for suffix in entry["mx"]},
        catch_all=next((entry["slug"] for entry in shipped if entry.get("catch_all")), None),
    )


def provider_table() -> ProviderTable[int]:
    """Return the providers' names by id, as operators have them now."""
    return ProviderTable(
        domains=dict(ProviderDomain.objects.values_list("domain", "provider_id")),
        mx_suffixes=dict(ProviderMxSuffix.objects.values_list("suffix", "provider_id")),
        catch_all=Provider.objects.filter(catch_all=True).values_list("pk", flat=True).first(),
    )


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
        match_domains()
    return len(new)


def provider_save(
    *,
    provider: Provider | None = None,
    slug: str,
    name: str,
    position: int = 100,
    domains: Iterable[str] = (),
    mx_suffixes: Iterable[str] = (),
    actor: Actor = SYSTEM,
) -> Provider:
    """Make or change a provider with exactly these domains and MX suffixes.

    A domain or suffix belongs to one provider: taking another's is refused. Instances that were not
    matched by hand are matched anew, and so are recipient domains. Raises django's ValidationError, keyed
    by field.
    """
    provider = provider or Provider()
    before = _told(provider) if provider.pk else None
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
        match_domains()
        _record(provider, "provider.change" if before else "provider.add", actor, before, _told(provider))
    return provider


def provider_remove(*, provider: Provider, actor: Actor = SYSTEM) -> None:
    """Forget a provider and what was counted for it; its recipient domains go to who claims them next.

    Its instances belong to none until their names match another.

    Raises django's ValidationError for the one that catches all else.
    """
    if provider.catch_all:
        raise ValidationError(f"{provider.name} catches every domain that no other provider claims.")
    with transaction.atomic():
        _record(provider, "provider.remove", actor, _told(provider), None)
        provider.domains.all().delete()
        provider.mx_suffixes.all().delete()
        # Before the provider goes: what still belongs to it goes with it.
        match_domains()
        provider.delete()
        match_by_name()


def domain_assign(*, domain: str, provider: Provider | None, actor: Actor = SYSTEM) -> RecipientDomain | None:
    """Give a recipient domain to a provider; None: to the one its relay host tells, or the catch-all.

    Mail that is counted from now on goes to that provider; what is counted stays where it was. Returns the
    domain's row, None where no mail went there yet. Raises django's ValidationError.
    """
    name = _normalised("domain", [domain])[0]
    with transaction.atomic():
        known = ProviderDomain.objects.select_related("provider").filter(domain=name).first()
        record_change(
            actor=actor,
            action="domain.assign",
            subject=Subject(type="recipient domain", id=name[:64], name=name),
            before={"provider": known.provider.slug if known else ""},
            after={"provider": provider.slug if provider else ""},
        )
        if provider is None:
            ProviderDomain.objects.filter(domain=name).delete()
        else:
            ProviderDomain.objects.update_or_create(domain=name, defaults={"provider": provider})
        match_domains(RecipientDomain.objects.filter(name=name))
    return RecipientDomain.objects.select_related("provider").filter(name=name).first()


def match_domains(domains: QuerySet[RecipientDomain] | None = None) -> None:
    """Give recipient domains, all without an argument, the providers that the tables say now."""
    table = provider_table()
    moved: dict[int, list[int]] = {}
    wanted = RecipientDomain.objects.all() if domains is None else domains
    for pk, name, mx_host, provider_id in wanted.values_list("pk", "name", "mx_host", "provider_id"):
        new = table.of_domain(name, mx_host)
        if new is not None and new != provider_id:
            moved.setdefault(new, []).append(pk)
    for new, ids in moved.items():
        for first in range(0, len(ids), _UPDATED_AT_ONCE):
            batch = ids[first : first + _UPDATED_AT_ONCE]
            RecipientDomain.objects.filter(pk__in=batch).update(provider_id=new)


def _record(
    provider: Provider,
    action: str,
    actor: Actor,
    before: dict[str, object] | None,
    after: dict[str, object] | None,
) -> None:
    subject = Subject(type="provider", id=str(provider.pk), name=provider.slug)
    record_change(actor=actor, action=action, subject=subject, before=before, after=after)


def _told(provider: Provider) -> dict[str, object]:
    """Return a provider as it stands in the database, as the audit trail keeps it."""
    kept = Provider.objects.get(pk=provider.pk)
    return {
        "slug": kept.slug,
        "name": kept.name,
        "position": kept.position,
        "domains": sorted(kept.domains.values_list("domain", flat=True)),
        "mx_suffixes": sorted(kept.mx_suffixes.values_list("suffix", flat=True)),
    }


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
