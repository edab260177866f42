"""Totals of the operator's old script as a source of outcomes, for hosts whose logs nobody reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from relays.domain.mailstats import DayTotals
from relays.models import Host, ImportedTotals, Instance, InstanceState, LogSource
from relays.services.dimensions import catch_all_id
from relays.services.instances import match_by_name
from relays.services.levels import BUCKET_S, DAY_S, HOUR_S, OUTCOME_COUNTS, add_outcomes

_COUNTS = ("sent", "deferred", "bounced")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many instances were told of, and the recipients that were new since the import before."""

    instances: int
    sent: int
    deferred: int
    bounced: int


def import_totals(
    *, host: str, totals: Mapping[str, DayTotals], at: datetime, whole_day: bool = False, make: bool = False
) -> Imported:
    """Add what these totals of the UTC day of `at` have beyond those that were imported for it before.

    totals: by syslog_name. whole_day: they are of all of it, and say nothing of its hours; otherwise what is
    new is counted at `at`. make: a host and instances that are not known are made, and not polled. Raises
    django's ValidationError, and then nothing was added.
    """
    if at > timezone.now():
        raise ValidationError(f"{at:%Y-%m-%d %H:%M} is yet to come.")
    day = int(at.timestamp()) // DAY_S * DAY_S
    with transaction.atomic():
        row = _host(host, make=make)
        instances = _instances(row, totals, make=make)
        new = {name: _new(name, instances[name], day, told) for name, told in totals.items()}
        ts = day if whole_day else int(at.timestamp()) // BUCKET_S * BUCKET_S
        add_outcomes(
            {(pk, ts, provider): _row(new[name]) for name, (pk, provider) in instances.items()},
            spans=(DAY_S,) if whole_day else (BUCKET_S, HOUR_S, DAY_S),
        )
        for name, told in totals.items():
            counts = {what: getattr(told, what) for what in _COUNTS}
            ImportedTotals.objects.update_or_create(
                instance_id=instances[name][0], ts=day, defaults=counts, create_defaults=counts
            )
    return Imported(len(new), *(sum(getattr(told, what) for told in new.values()) for what in _COUNTS))


def _host(name: str, *, make: bool) -> Host:
    """Return the host, locked: of two imports of one day the second sees the first's."""
    if make:
        Host.objects.get_or_create(name=name, defaults={"ssh_address": name, "enabled": False})
    host = Host.objects.select_for_update().filter(name=name).first()
    if host is None:
        raise ValidationError(f"There is no host {name}. With --new it is made, and not polled.")
    if LogSource.objects.filter(host=host, lines__gt=0).exists():
        raise ValidationError(f"The logs of {name} are read from it: all would be counted twice.")
    return host


def _instances(host: Host, totals: Mapping[str, DayTotals], *, make: bool) -> dict[str, tuple[int, int]]:
    """Return the instance and its provider by the name it logs under."""
    if make:
        _make_instances(host, totals)
    rows = host.instances.filter(removed_at=None).values_list("pk", "name", "syslog_name", "provider_id")
    known = {}
    for pk, name, syslog_name, provider_id in rows:
        known[syslog_name or name] = known[name] = pk, provider_id or catch_all_id()
    found = {name: known.get(name) or known.get(_instance_name(name)) for name in totals}
    unknown = sorted(name for name, place in found.items() if place is None)
    if unknown:
        raise ValidationError(
            f"{host.name} has no instance {', '.join(unknown)}. With --new what is missing is made."
        )
    places = {name: place for name, place in found.items() if place is not None}
    if len(set(places.values())) < len(places):
        raise ValidationError(f"Two names are one instance: {', '.join(sorted(places))}.")
    return places


def _make_instances(host: Host, totals: Mapping[str, DayTotals]) -> None:
    present = host.instances.filter(removed_at=None)
    known = {name for pair in present.values_list("name", "syslog_name") for name in pair}
    for syslog_name in sorted(totals):
        name = _instance_name(syslog_name)
        if known.isdisjoint((name, syslog_name)):
            instance = Instance.objects.create(
                host=host,
                name=name[:63],
                # Where relayctl would find it, should it come to be asked.
                config_dir="/etc/postfix" if name == "default" else f"/etc/postfix-{name}",
                syslog_name=syslog_name,
                first_seen_at=timezone.now(),
            )
            InstanceState.objects.create(instance=instance)
    match_by_name()


def _instance_name(syslog_name: str) -> str:
    return "default" if syslog_name == "postfix" else syslog_name.removeprefix("postfix-")


def _new(name: str, instance: tuple[int, int], day: int, told: DayTotals) -> DayTotals:
    """Return what is new in an instance's totals of a day."""
    before = ImportedTotals.objects.filter(instance_id=instance[0], ts=day).first()
    if before is None:
        return told
    for what in _COUNTS:
        was, is_now = getattr(before, what), getattr(told, what)
        if is_now < was:
            raise ValidationError(
                f"{name}: {is_now:,} {what}, but {was:,} were imported for"
                f" {datetime.fromtimestamp(day, UTC):%Y-%m-%d} before: totals of a day only grow."
            )
    return DayTotals(*(getattr(told, what) - getattr(before, what) for what in _COUNTS))


def _row(new: DayTotals) -> list[int]:
    return [getattr(new, name) if name in _COUNTS else 0 for name in OUTCOME_COUNTS]
