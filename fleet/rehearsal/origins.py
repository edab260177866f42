"""The origins' Postfix: list servers that hand each provider's mail to a relay name."""

from fleet.rehearsal import files, spec
from fleet.rehearsal.postfix import Instance

_TRANSPORT = "/etc/postfix/transport.relay"


def configure(instance: Instance, *, logs: str) -> None:
    """Write an origin's configuration: a transport map, and nothing delivered by itself."""
    zone = zone_of(instance.host_name)
    lines = [
        f"{domain} smtp:{relay_name(provider.slug, zone)}"
        for provider in spec.PROVIDERS
        if provider.slug not in ("therest", "home")
        for domain in provider.domains
    ]
    files.write(instance.namespace.root, _TRANSPORT, "\n".join(lines) + "\n")
    rest = f"relayhost = {relay_name('therest', zone)}\n"
    instance.configure(logs=logs, more=f"transport_maps = texthash:{_TRANSPORT}\n{rest}")


def zone_of(origin: str) -> spec.Zone:
    """Return the zone whose relay names an origin uses."""
    return next(zone for zone in spec.ZONES if zone.origin == origin)


def relay_name(provider: str, zone: spec.Zone) -> str:
    return f"{provider}.{zone.name}"
