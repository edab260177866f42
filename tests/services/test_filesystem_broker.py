"""The embedded broker's folder: messages appear whole, and a damaged one ends nobody."""

from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection  # type: ignore[attr-defined]

from fleet.filesystem_broker import Channel


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    folders = {
        "data_folder_in": str(tmp_path),
        "data_folder_out": str(tmp_path),
        "control_folder": str(tmp_path),
    }
    made = Connection("filesystem://", transport_options=folders).channel()  # type: ignore[no-untyped-call]
    assert isinstance(made, Channel)
    return made


MESSAGE = {"body": "", "properties": {"delivery_tag": "1", "delivery_info": {}}}


def test_a_message_is_given_once(channel: Channel, tmp_path: Path) -> None:
    channel._put("operate", MESSAGE)
    assert [path.name[0] for path in tmp_path.iterdir()] != ["."]
    assert channel._get("operate") == MESSAGE
    with pytest.raises(Empty):
        channel._get("operate")


def test_what_is_not_written_whole_yet_is_not_read(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / ".1_x.operate.msg").write_text("{")
    with pytest.raises(Empty):
        channel._get("operate")


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"{}", b"\xff\xfe", b'{"properties": {}}'])
def test_a_damaged_message_is_passed_over(channel: Channel, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "0_x.operate.msg").write_bytes(text)
    channel._put("operate", MESSAGE)
    assert channel._get("operate") == MESSAGE
