"""The embedded broker: kombu's transport over a folder, with two faults mended.

Its messages lie there under their names before they are written, so that a worker could read half of one, and
one that cannot be read ended the worker. Here they appear whole, and a damaged one is dropped: a message
decides nothing, the rows do.
"""

import logging
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

logger = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Writes messages whole and passes over damaged ones."""

    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        # A name with a dot before it belongs to no queue.
        hidden = folder / f".{name}"
        hidden.write_text(dumps(payload))  # type: ignore[no-untyped-call]
        hidden.rename(folder / name)

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        while True:
            try:
                payload = super()._get(queue)  # type: ignore[no-untyped-call]
            except ValueError as error:
                logger.error("The broker held a damaged message for %s, which was dropped: %s", queue, error)
                continue
            if _is_message(payload):
                return payload
            logger.error("The broker held what is no message for %s: it was dropped.", queue)


class Transport(filesystem.Transport):
    """What `filesystem://` means to this console."""

    Channel = Channel


def _is_message(payload: object) -> bool:
    """Return whether kombu can make a message of this; what it carries is Celery's to judge."""
    if not isinstance(payload, dict) or not isinstance(payload.get("properties"), dict):
        return False
    told = payload["properties"]
    return "delivery_tag" in told and isinstance(told.get("delivery_info"), dict)
