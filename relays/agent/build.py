"""relayctl.pyz made of its sources: the same bytes for the same sources, whoever builds it.

Console side only; what it makes does not carry it. `./run relayctl [FILE]`
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# -I: neither the user's environment nor the folder it is called from chooses what is imported.
_SHEBANG = b"#!/usr/bin/python3 -I\n"
_MAIN = b"import sys\nfrom relays.agent.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
_CARRIED_DOMAIN = (
    "__init__.py",
    "filters.py",
    "groups.py",
    "matching.py",
    "params.py",
    "queue.py",
    "replies.py",
    "text.py",
    "maillog/*.py",
)
# zip knows no earlier time; any fixed one serves.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def carried() -> list[Path]:
    """Return the sources that relayctl.pyz holds, in its order."""
    agent = [path for path in (_ROOT / "relays/agent").glob("*.py") if path.name != "build.py"]
    domain = [path for name in _CARRIED_DOMAIN for path in (_ROOT / "relays/domain").glob(name)]
    return sorted([_ROOT / "relays/__init__.py", *agent, *domain])


def build() -> bytes:
    """Return the bytes of relayctl.pyz."""
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", _MAIN)
        for path in carried():
            _add(archive, path.relative_to(_ROOT).as_posix(), path.read_bytes())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Stored, not deflated: zlib's output differs between its versions.
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def main(arguments: list[str]) -> int:
    """Write relayctl.pyz to the path given and print its SHA-256 and the path, as sha256sum does."""
    if len(arguments) > 1:
        print("usage: python -m relays.agent.build [FILE]", file=sys.stderr)
        return 2
    path, content = Path(arguments[0] if arguments else "dist/relayctl.pyz"), build()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    print(f"{hashlib.sha256(content).hexdigest()}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
