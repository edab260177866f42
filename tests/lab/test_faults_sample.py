"""A small sample of `./run bench faults`: random kills under live operations, seeded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.lab


def test_operations_under_random_kills_end_truthful_and_begin_once(tmp_path: Path) -> None:
    """--hurry ends leases that a kill left behind: the bench itself waits their 80 s out."""
    results = tmp_path / "faults.json"
    options = ["--kills", "3", "--seed", "7", "--harm-s", "6", "--hurry", "--results", str(results), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.faults", *options],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads(results.read_text())
    assert kept["operations"] >= 1
    assert (kept["stuck"], kept["doubled"], kept["unexplained"]) == (0, [], [])
