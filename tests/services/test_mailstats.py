"""`manage.py mailstats import`: the old script's totals, counted once whatever is imported again."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from relays.models import (
    Host,
    ImportedTotals,
    Instance,
    LogSource,
    Outcomes,
    OutcomesDay,
    OutcomesHour,
    ProviderOutcomesDay,
)
from relays.services.providers import load_shipped
from tests.factories import host_make, instance_make

pytestmark = pytest.mark.django_db

DAY = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
ONCE = ("--host", "rustin", "--day", "2026-11-20")


@pytest.fixture
def host() -> Host:
    load_shipped()
    host = host_make("rustin")
    instance_make(host, "msn-a")
    instance_make(host, "default", provider=None)
    return host


@pytest.fixture
def stats(tmp_path: Path) -> Path:
    return tmp_path / "stats"


def lines(name: str, sent: int, deferred: int = 12, bounced: int = 7) -> str:
    total = sent + deferred + bounced
    return f"{name}:total:{total}\n{name}:bounced:{bounced}\n{name}:deferred:{deferred}\n{name}:sent:{sent}\n"


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("mailstats", "import", *words, stdout=out)
    return out.getvalue()


def total(model: Any, name: str = "sent") -> int:
    return int(model.objects.aggregate(total=Sum(name))["total"] or 0)


def test_a_days_totals_are_the_days_and_say_nothing_of_its_hours(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 620) + lines("postfix", 5, 0, 0))
    assert run(str(stats), *ONCE) == "rustin, 2 instances: 625 sent, 12 deferred, 7 bounced that are new\n"
    row = OutcomesDay.objects.get(instance__name="msn-a")
    assert (row.ts, row.provider.slug, row.sent, row.deferred, row.bounced) == (DAY, "msn", 620, 12, 7)
    assert OutcomesDay.objects.get(instance__name="default").provider.slug == "therest"
    assert (total(Outcomes), total(OutcomesHour), total(ProviderOutcomesDay)) == (0, 0, 625)


def test_the_same_file_again_adds_nothing(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 620))
    run(str(stats), *ONCE)
    told = json.loads(run(str(stats), *ONCE, "--json"))
    assert (told["instances"], told["sent"], told["deferred"], told["bounced"]) == (1, 0, 0, 0)
    assert (total(OutcomesDay), total(ProviderOutcomesDay)) == (620, 620)


def test_a_day_that_grows_adds_what_is_new_at_its_time(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 100))
    run(str(stats), "--host", "rustin", "--at", "2026-11-20T10:02:00Z")
    stats.write_text(lines("postfix-msn-a", 160))
    run(str(stats), "--host", "rustin", "--at", "2026-11-20T11:07:00+00:00")
    spans = dict(Outcomes.objects.values_list("ts", "sent"))
    assert spans == {DAY + 36_000: 100, DAY + 39_900: 60}
    assert dict(OutcomesHour.objects.values_list("ts", "sent")) == {DAY + 36_000: 100, DAY + 39_600: 60}
    stats.write_text(lines("postfix-msn-a", 200))
    run(str(stats), *ONCE)
    assert (total(OutcomesDay), total(OutcomesDay, "bounced"), total(Outcomes)) == (200, 7, 160)


def test_totals_that_shrink_are_refused_and_change_nothing(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 620))
    run(str(stats), *ONCE)
    stats.write_text(lines("postfix-msn-a", 619) + lines("postfix", 5))
    with pytest.raises(CommandError, match="619 sent, but 620 were imported for 2026-11-20 before"):
        run(str(stats), *ONCE)
    assert (total(OutcomesDay), ImportedTotals.objects.count()) == (620, 1)


def test_standard_input_is_read_as_minus(host: Host) -> None:
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(lines("postfix-msn-a", 3).encode()))):
        run("-", *ONCE)
    assert total(OutcomesDay) == 3


def test_unknown_names_are_refused_or_made_when_asked_to(stats: Path) -> None:
    load_shipped()
    stats.write_text(lines("postfix-msn-z", 3))
    with pytest.raises(CommandError, match="There is no host cleveland"):
        run(str(stats), "--host", "cleveland", "--day", "2026-11-20")
    host_make("cleveland", enabled=False)
    with pytest.raises(CommandError, match="cleveland has no instance postfix-msn-z"):
        run(str(stats), "--host", "cleveland", "--day", "2026-11-20")
    run(str(stats), "--host", "older", "--day", "2026-11-20", "--new")
    made = Instance.objects.get()
    assert (made.host.name, made.host.enabled, made.name) == ("older", False, "msn-z")
    assert made.provider is not None and made.provider.slug == "msn"
    run(str(stats), "--host", "older", "--day", "2026-11-20", "--new")
    assert (Instance.objects.count(), total(OutcomesDay)) == (1, 3)


def test_two_names_of_one_instance_are_refused(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 3) + lines("msn-a", 4))
    with pytest.raises(CommandError, match="Two names are one instance: msn-a, postfix-msn-a"):
        run(str(stats), *ONCE)


def test_a_host_whose_logs_are_read_is_refused(host: Host, stats: Path) -> None:
    LogSource.objects.create(host=host, source="/var/log/mail.log", lines=1)
    stats.write_text(lines("postfix-msn-a", 3))
    with pytest.raises(CommandError, match="counted twice"):
        run(str(stats), *ONCE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"postfix-msn-a:sent:1\nwhat\n", "line 2"),
        (b"\xff\xfe\x00", "line 1"),
        (b"x" * (2 << 20), "longer than"),
        (b"", "no line"),
    ],
)
def test_bad_files_are_refused_with_their_line(host: Host, stats: Path, content: bytes, told: str) -> None:
    stats.write_bytes(content)
    with pytest.raises(CommandError, match=told):
        run(str(stats), *ONCE)


def test_times_that_cannot_be_are_refused(host: Host, stats: Path) -> None:
    stats.write_text(lines("postfix-msn-a", 3))
    with pytest.raises(CommandError, match="yet to come"):
        run(str(stats), "--host", "rustin", "--day", "2999-01-01")
    for when in (("--day", "yesterday"), ("--at", "2026-11-31T10:00"), ("--day", "2026-13-01")):
        with pytest.raises(CommandError, match="invalid"):
            run(str(stats), "--host", "rustin", *when)
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("/nowhere/stats", *ONCE)
