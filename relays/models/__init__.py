"""Rows: what the console knows of hosts, instances and providers, and when it learned it."""

from relays.models.alarm import Alarm
from relays.models.audit import AuditEvent, AuditHead, AuditParams
from relays.models.flush import Flush, FlushArrival, FlushRecipient, InstanceRedirect
from relays.models.host import Host
from relays.models.instance import Address, Instance
from relays.models.message import MessageBatch, PendingDeletion, QueueRead
from relays.models.operation import InstanceLock, Operation, OperationStep, RelayNameLock
from relays.models.origin import Accepted, AcceptedDay, AcceptedHour, Client, Origin
from relays.models.outcome import (
    DomainOutcomesDay,
    DomainOutcomesHour,
    FleetDomainOutcomesDay,
    FleetDomainOutcomesHour,
    ImportedTotals,
    LogSource,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    ProviderOutcomesDay,
    ProviderOutcomesHour,
    ProviderReplyCountsDay,
    ProviderReplyCountsHour,
    RecipientDomain,
    ReplyCluster,
    ReplyCountsDay,
    ReplyCountsHour,
)
from relays.models.provider import Provider, ProviderDomain, ProviderMxSuffix
from relays.models.queue import InstanceState, QueueSnapshot
from relays.models.reason import ReasonRule
from relays.models.sample import ProviderHour, Sample, SampleDay, SampleHour
from relays.models.trace import Trace, TraceLine

__all__ = [
    "Accepted",
    "AcceptedDay",
    "AcceptedHour",
    "Address",
    "Alarm",
    "AuditEvent",
    "AuditHead",
    "AuditParams",
    "Client",
    "DomainOutcomesDay",
    "DomainOutcomesHour",
    "FleetDomainOutcomesDay",
    "FleetDomainOutcomesHour",
    "Flush",
    "FlushArrival",
    "FlushRecipient",
    "Host",
    "ImportedTotals",
    "Instance",
    "InstanceLock",
    "InstanceRedirect",
    "InstanceState",
    "LogSource",
    "MessageBatch",
    "Operation",
    "OperationStep",
    "Origin",
    "Outcomes",
    "OutcomesDay",
    "OutcomesHour",
    "PendingDeletion",
    "Provider",
    "ProviderDomain",
    "ProviderHour",
    "ProviderMxSuffix",
    "ProviderOutcomesDay",
    "ProviderOutcomesHour",
    "ProviderReplyCountsDay",
    "ProviderReplyCountsHour",
    "QueueRead",
    "QueueSnapshot",
    "ReasonRule",
    "RecipientDomain",
    "RelayNameLock",
    "ReplyCluster",
    "ReplyCountsDay",
    "ReplyCountsHour",
    "Sample",
    "SampleDay",
    "SampleHour",
    "Trace",
    "TraceLine",
]
