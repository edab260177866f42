"""What every test has: settings with a data folder of their own, and the fence around coverage."""

import atexit
import io
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import django
import pytest
from coverage import Coverage
from coverage.exceptions import NoDataError
from django.conf import settings
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from tests.servers import PostgreSQL, RabbitMQ, Redis

# Before Django reads its settings: no test may touch the data of an installation in this checkout.
_DATA_DIR = tempfile.mkdtemp(prefix="fleet-tests-")
atexit.register(shutil.rmtree, _DATA_DIR, ignore_errors=True)
os.environ["FLEET_DATA"] = _DATA_DIR
# No test asks the world; those that ask a resolver start one.
os.environ["FLEET_RESOLVER"] = "127.0.0.1:1"
os.environ["DJANGO_SETTINGS_MODULE"] = "fleet.settings"

# The browser's fixtures, for tests/browser/ and for the lab's own look at a page: Chromium starts once.
pytest_plugins = ["tests.browser.visits"]

# That a machine is busy is no fault of a test, nor of what makes its values.
hypothesis_settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
hypothesis_settings.load_profile("busy")

PURE_CODE = ("relays/domain", "relays/agent", "dns/domain")
PURE_CODE_COVERED_PERCENT = 95
_COVERED = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/processes/test_postgresql.py choose what to run again on another database."""
    parser.addoption("--database-only", action="store_true", help="only tests that use the database")


# Files whose tests take minutes, and wait for most of them: the longest first.
LONGEST_FIRST = ("processes/test_postgresql.py", "processes/", "lab/", "agent/", "browser/")
# Of these, every wait is for another process; tracing would slow the console's own threads to a third.
NOT_MEASURED = ("processes/", "lab/", "browser/")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what takes longest first; with --database-only, leave out what opens no database, and the lab."""
    for item in items:
        if item.nodeid.startswith(tuple(f"tests/{path}" for path in NOT_MEASURED)):
            item.add_marker(pytest.mark.no_cover)
    if _is_one_of_many(config):
        turns = _in_turns(list(dict.fromkeys(_file(item) for item in items)))
        items.sort(key=lambda item: turns[_file(item)])
    if config.getoption("--database-only"):
        chosen = [item for item in items if _uses_database(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def _is_one_of_many(config: pytest.Config) -> bool:
    """Tell whether other processes run other files of the same run (pytest-xdist)."""
    return hasattr(config, "workerinput")


def _in_turns(files: list[str]) -> dict[str, float]:
    """Return each file's place: those that wait beside those that work, so that no processor idles.

    Those that take minutes have all begun by four fifths, or one would run alone at the end.
    """
    long = sorted((file for file in files if _place(file) < len(LONGEST_FIRST)), key=_place)
    short = [file for file in files if _place(file) == len(LONGEST_FIRST)]
    turns = {file: 0.8 * number / len(long) for number, file in enumerate(long)}
    return turns | {file: number / len(short) for number, file in enumerate(short)}


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _place(file: str) -> int:
    starts = (file.startswith(f"tests/{path}") for path in LONGEST_FIRST)
    return next((number for number, fits in enumerate(starts) if fits), len(LONGEST_FIRST))


def _uses_database(item: pytest.Item) -> bool:
    if any(item.get_closest_marker(marker) for marker in ("lab", "browser")):
        return False
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("django_db") is not None or not {"db", "transactional_db"}.isdisjoint(
        fixtures
    )


def pytest_configure() -> None:
    """Set Django up here, for pytest-django does so before this file is read where the settings are named."""
    django.setup()
    # A file, not memory: threads of a live server then wait for each other's locks, as processes do.
    database = connections["default"].settings_dict
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = f"{_DATA_DIR}/test.sqlite3"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Fail a run of the whole suite that leaves pure code uncovered, after pytest-cov has its figures."""
    result = yield
    coverage = session.config.pluginmanager.getplugin("_cov")
    is_whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if coverage is not None and is_whole and not _is_one_of_many(session.config):
        figures = {folder: _covered_percent(coverage.cov_controller.cov, folder) for folder in PURE_CODE}
        session.config.stash[_COVERED] = figures
        session.testsfailed += sum(percent < PURE_CODE_COVERED_PERCENT for percent in figures.values())
    return result


def _covered_percent(coverage: Coverage, folder: str) -> float:
    with suppress(NoDataError):
        return coverage.report(include=[f"{folder}/*"], file=io.StringIO())
    return 0.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell how much of the pure code is covered; pytest's own summary line comes after this."""
    for folder, percent in config.stash.get(_COVERED, {}).items():
        short = percent < PURE_CODE_COVERED_PERCENT
        verdict = f"FAILED: {PURE_CODE_COVERED_PERCENT} % is wanted" if short else "enough"
        line = f"{folder}: {percent:.1f} % of lines and branches covered, {verdict}"
        terminalreporter.write_line(line, red=short)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Keep a copy of the migrated database for tests with real transactions to end with."""
    # Models can be read only once Django is set up, which is after this file.
    from tests.pristine import keep_pristine  # noqa: PLC0415

    with django_db_blocker.unblock():
        keep_pristine()


@pytest.fixture(autouse=True, scope="session")
def _pages_without_collectstatic() -> Iterator[None]:
    """Let pages be rendered with the files as they lie in static/, not as collectstatic names them."""
    storages = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    with override_settings(STORAGES=storages):
        yield


@pytest.fixture(autouse=True)
def _own_anchor_file(tmp_path: Path) -> Iterator[None]:
    """Give each test its own note of the audit trail's head: the trail itself begins anew with each."""
    with override_settings(AUDIT_ANCHOR_PATH=tmp_path / "audit_head"):
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """PostgreSQL 15; its database() makes an empty database."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """Redis, as a broker."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """RabbitMQ, as a broker."""
    with RabbitMQ() as server:
        yield server
