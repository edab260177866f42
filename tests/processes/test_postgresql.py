"""Whatever uses the database passes on PostgreSQL too: the same tests, run again."""

import re
import subprocess
import sys

from fleet.supervisor import die_with_parent

_LIMIT_S = 1_800


def test_every_test_that_uses_the_database_passes_on_postgresql() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.on_postgresql"],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        preexec_fn=die_with_parent,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    # Were the choice of tests broken, nearly nothing would pass here.
    assert int(passed[1]) > 20, run.stdout
