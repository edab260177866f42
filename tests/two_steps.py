"""A kind of operation with two steps, whose host is a dictionary.

What a host does with a request id is proved on real ones in tests/agent and tests/lab.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from relays.models import Instance
from relays.services import kinds
from relays.services.job import Job, StillRunning
from relays.services.kinds import Kind, Plan, PlanRefused


class FarSide:
    """What a relay host keeps: results by request id, and how often each effect happened."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self.effects: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.running: set[str] = set()
        self.queue = 412

    def do(self, name: str, req_id: str) -> Mapping[str, Any]:
        self.before()
        if req_id not in self.results:
            self.effects.append(name)
            self.results[req_id] = {"done": name}
        self.after()
        return self.results[req_id]

    def look_up(self, req_id: str) -> Mapping[str, Any] | None:
        if req_id in self.running:
            raise StillRunning
        return self.results.get(req_id)


class TwoSteps(Kind):
    name = "test.two-steps"
    title = "Two steps"
    permission = "relays.run_queue"

    def __init__(self, host: FarSide) -> None:
        self.host = host

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if set(params) - {"domain"}:
            raise PlanRefused("Only a domain.")
        return dict(params)

    def plan(self, instance: Instance, params: Mapping[str, Any]) -> Plan:
        return Plan("Two steps.", counts={"messages": self.host.queue}, facts={"queue": self.host.queue})

    def run(self, job: Job) -> str:
        for name in ("one", "two"):
            self._step(job, name)
        return "Both were done."

    def _step(self, job: Job, name: str) -> None:
        job.step(
            name, lambda req_id: self.host.do(name, req_id), look_up=self.host.look_up, request={"do": name}
        )


@contextmanager
def registered() -> Iterator[FarSide]:
    """Have the kind for as long as the test runs; what it does, it does to the far side given."""
    far = FarSide()
    kinds.register(TwoSteps(far))
    yield far
    del kinds._kinds[TwoSteps.name]
