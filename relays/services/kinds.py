"""Kinds of operation: what each may do, how it is planned, how it runs. Apps register theirs at start-up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from relays.domain.audit import canonical, digest
from relays.domain.queue_reading import Item

if TYPE_CHECKING:
    from relays.models import Instance, Operation
    from relays.services.job import Job


class PlanRefused(Exception):
    """An operation that must not be begun; the text says why and what to do about it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation will do, as the operator confirms it. All values are JSON.

    commands: as they will run on the host, a list of words each; counts: what it touches, by name, "messages"
    among them where it touches messages; facts: what the plan was made on; notes: side effects; reason: why
    it is done, where the figures tell: whoever confirms may say another; items: the single messages that it
    is about, which the kind keeps beside the operation and not in its plan.
    """

    summary: str
    commands: list[list[str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    items: tuple[Item, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the plan that as_json() gave."""
        return cls(**value)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as it is stored, without its items."""
        return {name: value for name, value in asdict(replace(self, items=())).items() if name != "items"}

    def hash(self, kind: str, target: str, params: Mapping[str, Any]) -> str:
        """Return the name of this plan for this target: what was confirmed is what runs."""
        return digest(canonical([kind, target, dict(params), self.as_json()]))


class Kind(ABC):
    """One kind of operation on an instance."""

    # "queue.run": stands in URLs, audit events and the API.
    name: ClassVar[str]
    # "Try deferred mail now": the button and the page's title.
    title: ClassVar[str]
    # Django's name of the permission: asked for when it is requested, and again when it runs.
    permission: ClassVar[str]
    # Whether it is planned again when it begins: not where the host checks all of it right before it acts.
    plans_again: ClassVar[bool] = True
    # How long it may take from its first claim to its end.
    deadline: ClassVar[timedelta] = timedelta(minutes=2)
    # Whether it sees to being stopped and to its deadline itself: it has something to put back in order.
    ends_itself: ClassVar[bool] = False

    @abstractmethod
    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters checked and complete. Raises PlanRefused."""

    @abstractmethod
    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Look at the host and say what would be done; changes nothing. Raises PlanRefused, RemoteError."""

    def keep(self, operation: Operation, plan: Plan) -> None:  # noqa: B027 - most keep nothing
        """Store what the plan needs beside the operation, in the transaction that makes it."""

    def also_locks(self, _params: Mapping[str, Any]) -> list[int]:
        """Return the ids of other instances that nothing else may change meanwhile."""
        return []

    def confirmed(self, operation: Operation) -> None:  # noqa: B027 - most have nothing to write
        """Write what the operation needs of its own, in the transaction that confirms it and has its locks.

        Raises PlanStale where the plan was made by what is not so any more.
        """

    def ended(self, operation: Operation) -> None:  # noqa: B027 - most leave nothing behind
        """See to what is left behind, in the transaction that ends the operation; its state is the end."""

    def moved(self, then: Plan, now: Plan) -> str:
        """Say how the facts have moved by more than the plan allows since then; "" where they have not."""
        return "" if then.facts == now.facts else "The instance has changed since the plan was made."

    @abstractmethod
    def run(self, job: Job) -> str:
        """Do it, and return what came of it in one sentence.

        Runs again from its beginning after a crash or a wait: whatever changes something goes through
        job.step, which returns what is known of a step that was done before.
        """


class RelayNameKind(Kind):
    """One kind of operation on a relay name, known by its name: `relays` has no rows of those."""

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        """Refuse: an instance has no records."""
        raise PlanRefused(f"{self.name} is about a relay name, not about {instance.name}.")

    @abstractmethod
    def plan_name(self, relay_name: str, params: Mapping[str, Any]) -> Plan:
        """Look at the name servers and say what would be done; changes nothing. Raises as plan() does."""

    @abstractmethod
    def page_of(self, relay_name: str) -> str:
        """Return the address of the relay name's page, which `relays` does not know; "" where it is gone."""


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind known. Raises ValueError for a name that is taken."""
    if kind.name in _kinds:
        raise ValueError(f"Two kinds of operation are called {kind.name}.")
    _kinds[kind.name] = kind


def kind_of(name: str) -> Kind:
    """Return the kind of that name. Raises PlanRefused where there is none."""
    if name not in _kinds:
        raise PlanRefused(f"There is no operation called {name[:40]!r}.")
    return _kinds[name]


def all_kinds() -> list[Kind]:
    """Return all kinds, by name."""
    return [_kinds[name] for name in sorted(_kinds)]
