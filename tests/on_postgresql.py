"""`python -m tests.on_postgresql`: whatever uses the database, on PostgreSQL. More arguments are pytest's."""

import os
import subprocess
import sys

from tests.servers import PostgreSQL


def main(arguments: list[str]) -> int:
    """Start a server of its own, run the tests on it, and return pytest's exit status."""
    pytest = [sys.executable, "-m", "pytest", "--database-only", "-q", "-p", "no:cacheprovider"]
    with PostgreSQL() as server:
        environment = os.environ | {"DATABASE_URL": server.database("suite")}
        return subprocess.run([*pytest, *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
