"""Coverage of relayctl where it really runs: as a program of its own, in a sandbox, as another user.

A .pth file starts coverage in every Python there, which -I does not keep out. What it found is put
beside the run's own data, where pytest-cov combines it; pyproject.toml maps the program's paths to ours.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import coverage

_SITE = f"/usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}/dist-packages"
_DATA = "/run/coverage"
_OFF = "/run/unmeasured"
# Without bytecode: what Python caches beside the copied package would look like what relayctl left behind.
_START = f"""\
import sys; sys.dont_write_bytecode = True
import os; os.environ.setdefault("COVERAGE_PROCESS_START", "{_DATA}/rc")
import os; os.path.exists("{_OFF}") or __import__("coverage").process_startup()
"""
_RC = f"""\
[run]
branch = true
parallel = true
data_file = {_DATA}/data
source_pkgs = relays
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""


def begin(root: Path) -> None:
    """Have every Python below this root measured, where this run is."""
    if coverage.Coverage.current() is None:
        return
    site, data = root / _SITE[1:], root / _DATA[1:]
    site.mkdir(parents=True, exist_ok=True)
    shutil.copytree(Path(coverage.__file__).parent, site / "coverage", dirs_exist_ok=True)
    (site / "measured.pth").write_text(_START)
    data.mkdir()
    # relayctl runs as users of its own there.
    data.chmod(0o1777)
    (data / "rc").write_text(_RC)


@contextmanager
def paused(root: Path) -> Iterator[None]:
    """Measure nothing below this root meanwhile: what is killed writes nothing, and all start faster."""
    off = root / _OFF[1:]
    off.touch()
    try:
        yield
    finally:
        off.unlink()


def end(root: Path) -> None:
    """Take what was measured below this root, before it is gone."""
    current = coverage.Coverage.current()
    if current is None:
        return
    beside = Path(current.config.data_file).resolve()
    for found in (root / _DATA[1:]).glob("data.*"):
        shutil.copy(found, beside.with_name(f".coverage.relayctl.{uuid4().hex}"))
