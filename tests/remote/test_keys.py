"""Host keys as text, and the console's own key pair."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_django import Settings

from relays.remote import keys
from tests.far_side import make_key


def test_a_fingerprint_is_the_one_ssh_keygen_prints(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    public = (tmp_path / "key.pub").read_text()
    printed = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert keys.fingerprint(public) in printed.split()
    assert keys.normalise_host_key(public) == " ".join(public.split()[:2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-dss AAAAB3NzaC1kc3M=",
        "ssh-ed25519 not-base64!",
        "ssh-ed25519 AAAAB3NzaC1yc2E=",
    ],
)
def test_what_is_no_host_key_is_refused(text: str) -> None:
    with pytest.raises(keys.BadHostKey):
        keys.normalise_host_key(text)


def test_the_read_key_is_made_once_and_for_us_alone(tmp_path: Path, settings: Settings) -> None:
    settings.READ_KEY_PATH = tmp_path / "keys" / "read_ed25519"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.read_public_key(), range(8)))
    assert len(made) == 1
    assert made.pop().startswith("ssh-ed25519 AAAA")
    assert settings.READ_KEY_PATH.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.READ_KEY_PATH.parent.iterdir()] == ["read_ed25519"]


def test_the_write_key_is_another_key(tmp_path: Path, settings: Settings) -> None:
    settings.READ_KEY_PATH = tmp_path / "keys" / "read_ed25519"
    settings.WRITE_KEY_PATH = tmp_path / "keys" / "write_ed25519"
    assert keys.write_public_key().split()[1] != keys.read_public_key().split()[1]
    assert settings.WRITE_KEY_PATH.stat().st_mode & 0o777 == 0o600
