"""Instances as the hosts' inventories tell them, and whose mail each carries."""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from relays.domain.providers import provider_of_instance
from relays.domain.reading import InstanceFacts
from relays.models import Address, Host, Instance, InstanceState, Provider
from relays.services.audit import SYSTEM, Actor, instance_subject, record_change


def instance_match(*, instance: Instance, provider: Provider | None, actor: Actor = SYSTEM) -> None:
    """Say by hand whose mail an instance carries; None: nobody's. No inventory changes it again."""
    before = _told(instance)
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(provider=provider, provider_by_hand=True)
        _record_match(instance, before, actor)


def instance_match_by_name(*, instance: Instance, actor: Actor = SYSTEM) -> None:
    """Take back what was said by hand: the provider follows from the instance's name again."""
    before = _told(instance)
    with transaction.atomic():
        Instance.objects.filter(pk=instance.pk).update(provider_by_hand=False)
        match_by_name()
        _record_match(instance, before, actor)


def _record_match(instance: Instance, before: dict[str, object], actor: Actor) -> None:
    instance.refresh_from_db()
    record_change(
        actor=actor,
        action="instance.match",
        subject=instance_subject(instance),
        before=before,
        after=_told(instance),
    )


def _told(instance: Instance) -> dict[str, object]:
    provider = instance.provider.slug if instance.provider else ""
    return {"provider": provider, "by_hand": instance.provider_by_hand}


def match_by_name() -> None:
    """Give every instance that was not matched by hand the provider that its name begins with."""
    providers = dict(Provider.objects.values_list("slug", "pk"))
    changed = []
    for instance in Instance.objects.filter(provider_by_hand=False).only("name", "provider"):
        provider_id = _provider_id(instance.name, providers)
        if instance.provider_id != provider_id:
            instance.provider_id = provider_id
            changed.append(instance)
    Instance.objects.bulk_update(changed, ["provider"], batch_size=500)


def reconcile(*, host: Host, inventory: Iterable[InstanceFacts], at: datetime) -> None:
    """Make a host's instances those of its inventory: new, renamed, removed and returned ones.

    An instance is known by its configuration directory, so that a renamed one keeps its history. Call it
    inside a transaction.
    """
    listed = {facts.config_dir: facts for facts in inventory}
    known = {instance.config_dir: instance for instance in host.instances.all()}
    providers = dict(Provider.objects.values_list("slug", "pk"))
    _release_names(known, listed, at)
    for config_dir, facts in listed.items():
        instance = known.get(config_dir) or Instance(host=host, config_dir=config_dir, first_seen_at=at)
        _take_facts(instance, facts, providers)
        instance.save()
        InstanceState.objects.get_or_create(instance=instance)
        _take_addresses(instance, facts.ips)


def _release_names(known: dict[str, Instance], listed: dict[str, InstanceFacts], at: datetime) -> None:
    """Mark removed what is gone, and for a moment what is renamed: two may have swapped their names."""
    released = [
        instance.pk
        for config_dir, instance in known.items()
        if instance.removed_at is None
        and (config_dir not in listed or listed[config_dir].name != instance.name)
    ]
    Instance.objects.filter(pk__in=released).update(removed_at=at)


def _take_facts(instance: Instance, facts: InstanceFacts, providers: dict[str, int]) -> None:
    instance.name = facts.name
    instance.myhostname = facts.myhostname
    instance.helo_name = facts.helo_name
    instance.syslog_name = facts.syslog_name
    instance.queue_directory = facts.queue_directory
    instance.inventory = facts.row
    instance.removed_at = None
    if not instance.provider_by_hand:
        instance.provider_id = _provider_id(facts.name, providers)


def _take_addresses(instance: Instance, ips: tuple[str, ...]) -> None:
    instance.addresses.exclude(ip__in=ips).delete()
    missing = set(ips) - set(instance.addresses.values_list("ip", flat=True))
    Address.objects.bulk_create([Address(instance=instance, ip=ip) for ip in ips if ip in missing])


def _provider_id(name: str, providers: dict[str, int]) -> int | None:
    slug = provider_of_instance(name, providers)
    return None if slug is None else providers[slug]
