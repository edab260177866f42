"""Whatever uses the database passes on PostgreSQL too: the same tests, run again."""

import os
import re
import subprocess
import sys

from tests.servers import PostgreSQL


def test_every_test_that_uses_the_database_passes_on_postgresql(postgresql: PostgreSQL) -> None:
    suite = subprocess.run(
        [sys.executable, "-m", "pytest", "--database-only", "-q", "-p", "no:cacheprovider"],
        env=os.environ | {"DATABASE_URL": postgresql.database("suite")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert suite.returncode == 0, suite.stdout + suite.stderr
    passed = re.search(r"(\d+) passed", suite.stdout)
    assert passed is not None
    # Were the choice of tests broken, nearly nothing would pass here.
    assert int(passed[1]) > 20, suite.stdout
