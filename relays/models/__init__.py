"""Rows: what the console knows of hosts, instances and providers, and when it learned it."""

from relays.models.host import Host
from relays.models.instance import Address, Instance
from relays.models.provider import Provider, ProviderDomain, ProviderMxSuffix
from relays.models.queue import InstanceState, QueueSnapshot
from relays.models.sample import ProviderHour, Sample, SampleDay, SampleHour

__all__ = [
    "Address",
    "Host",
    "Instance",
    "InstanceState",
    "Provider",
    "ProviderDomain",
    "ProviderHour",
    "ProviderMxSuffix",
    "QueueSnapshot",
    "Sample",
    "SampleDay",
    "SampleHour",
]
