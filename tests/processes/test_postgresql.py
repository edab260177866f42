"""Whatever uses the database passes on PostgreSQL too: the same tests, run again."""

import re

from tests.processes.conftest import Run


def test_every_test_that_uses_the_database_passes_on_postgresql(second_run: Run) -> None:
    status, output = second_run.wait()
    assert status == 0, output
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    # Were the choice of tests broken, nearly nothing would pass here.
    assert int(passed[1]) > 20, output
