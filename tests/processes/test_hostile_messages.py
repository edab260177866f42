"""59 of the acceptance tests: what somebody else puts into the broker runs nothing, and the worker lives."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue  # type: ignore[attr-defined]

from tests.processes.console import Console
from tests.processes.test_up import SilentHost, both_live, poll, silent_host  # noqa: F401 - a fixture
from tests.servers import wait_for

_TEN_MIB = 10 * 2**20


# Files in the broker's folder that are no messages.
DAMAGED = [b"", b"{", b"[1]", b"{}", b"\xff\xfe", b'{"properties": {}, "body": ""}', b"\0" * 1000]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def headers(task: str) -> dict[str, object]:
    ident = str(uuid.uuid4())
    return {"task": task, "id": ident, "root_id": ident, "lang": "py", "argsrepr": "", "kwargsrepr": ""}


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path / "data", {})
    console.start()
    yield console
    console.stop()


@pytest.mark.parametrize("queue", ["collect", "operate"])
def test_59_what_others_put_into_the_broker_runs_nothing_and_the_worker_lives(
    queue: str,
    console: Console,
    silent_host: SilentHost,  # noqa: F811
    tmp_path: Path,
) -> None:
    marker = tmp_path / "unpickled"
    wait_for(lambda: both_live(console), "a sign of life of worker and scheduler")
    before = console.pids("\0worker\0")
    messages = console.data_dir / "broker" / "messages"
    options = {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(console.data_dir / "broker" / "control"),
    }
    with Connection("filesystem://localhost", transport_options=options) as broker:  # type: ignore[no-untyped-call]
        wanted = Queue(queue)  # type: ignore[no-untyped-call]

        def put(body: object, task: str = "relays.tasks.operate", **more: Any) -> None:
            producer = broker.Producer()
            more.setdefault("headers", headers(task))
            producer.publish(body, routing_key=queue, declare=[wanted], **more)

        put([[Evil(marker)], {}, {}], serializer="pickle")
        put(
            f"!!python/object/apply:os.mkdir ['{marker}']",
            content_type="application/x-yaml",
            content_encoding="utf-8",
        )
        put([["mkdir", str(marker)], {}, {}], task="os.mkdir")
        put([["A" * _TEN_MIB], {}, {}])
        put([[{"id": 1}], {"more": 2}, {}])
        put([[2**80], {}, {}])
        put("no arguments at all")
        put([[1], {}, {}], headers={})
    for number, text in enumerate(DAMAGED):
        (messages / f"{number}_of-somebody-else.{queue}.msg").write_bytes(text)
    poll(console, silent_host)
    wait_for(lambda: bool(silent_host.connections), "a poll after all of that")
    wait_for(lambda: not list(messages.glob(f"*.{queue}.msg")), "the end of the messages")
    assert console.pids("\0worker\0") == before
    assert not marker.exists()
    silent_host.hang_up()
