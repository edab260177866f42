"""A host whose messages are a dictionary: in which queue each lies, and what came of each request.

What a real one does is proved in tests/agent and tests/lab.
"""

from collections.abc import Callable
from typing import Any

import pytest

from relays.domain.filters import QueueFilter
from relays.domain.queue_reading import Item
from relays.domain.reading import Header
from relays.domain.written import Entry, Plan, Result
from relays.remote import relayctl, write
from relays.remote.errors import Incomplete

HEADER = Header("0.1.0", "0" * 64, "", 1795188249.0, "")
AFTER = {"message.hold": "hold", "message.release": "deferred", "message.delete": None}


class FarSide:
    """A host: in which queue each message lies, results by request, and what goes wrong next."""

    def __init__(self, messages: int) -> None:
        self.queues: dict[str, str | None] = {f"4jWKWh04b5z{n:04}": "deferred" for n in range(messages)}
        self.results: dict[str, Result | None] = {}
        self.trouble: list[Callable[[], object]] = []

    def reached_by(self, monkeypatch: pytest.MonkeyPatch) -> "FarSide":
        """Have the console ask this host, whichever it means to ask."""
        monkeypatch.setattr(relayctl, "queue_pick", self.pick)
        monkeypatch.setattr(write, "plan_messages", self.plan)
        monkeypatch.setattr(write, "messages", self.do)
        monkeypatch.setattr(write, "op_result", self.look_up)
        return self

    def pick(self, _target: object, _limits: object, *, wanted: QueueFilter, **_: Any) -> relayctl.Picked:
        found = [Item(i, 1795188249, "0" * 16) for i, queue in self.queues.items() if queue in wanted.queues]
        counts = {queue: sum(q == queue for q in self.queues.values()) for queue in wanted.queues}
        return relayctl.Picked(HEADER, 0.0, tuple(found), counts, 0)

    def plan(self, _target: object, verb: str, **_: Any) -> write.Planned:
        return write.Planned(
            HEADER, 0.0, Plan("0" * 64, (("postsuper", verb),), {}, {"config_dir": "/etc/x"})
        )

    def do(
        self, _target: object, verb: str, *, req_id: str, items: list[Item], **_: Any
    ) -> write.WriteResult:
        if req_id not in self.results:
            self.results[req_id] = None
            self.results[req_id] = self._act(verb, items)
        if self.trouble:
            self.trouble.pop(0)()
        entry = self._entry(req_id)
        assert entry.result is not None
        return write.WriteResult(HEADER, 0.0, entry, entry.result)

    def _act(self, verb: str, items: list[Item]) -> Result:
        left: dict[str, list[str]] = {}
        for item in items:
            queue = self.queues.get(item.queue_id)
            if queue is None:
                left.setdefault("gone", []).append(item.queue_id)
            elif queue == AFTER[verb]:
                left.setdefault("already", []).append(item.queue_id)
            elif verb == "message.delete" and queue != "hold":
                left.setdefault("elsewhere", []).append(item.queue_id)
            else:
                self.queues[item.queue_id] = AFTER[verb]
        acted = len(items) - sum(map(len, left.values()))
        counts = {"messages": len(items), "acted": acted}
        ids = {why: tuple(found) for why, found in left.items()}
        return Result(True, ("postsuper", verb), 0, False, "", 3, counts, ids)

    def look_up(self, _target: object, *, req_id: str, **_: Any) -> write.OpResult:
        return write.OpResult(HEADER, 0.0, self._entry(req_id))

    def _entry(self, req_id: str) -> Entry:
        if req_id not in self.results:
            return Entry(req_id, "absent", False)
        result = self.results[req_id]
        return Entry(req_id, "done" if result else "begun", False, params_sha="0" * 64, result=result)

    def forget_result(self) -> None:
        """Lose what came of the last request: the host was killed after its effect."""
        self.results[next(reversed(self.results))] = None
        raise Incomplete("The reply stopped before its end line.")

    def counts(self) -> dict[str | None, int]:
        return {queue: list(self.queues.values()).count(queue) for queue in set(self.queues.values())}
