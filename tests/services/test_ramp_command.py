"""`manage.py ramp`: presets, a plan, a start, steering and an end with the old weights."""

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from dns.models import Ramp, RelayName
from relays.models import AuditEvent
from tests.dns_servers import Bind
from tests.people import user_make
from tests.ramps import MSN, NEW, OLD, instances_make, live, mail, noon, primary_of, relay_name_make

pytestmark = pytest.mark.django_db
WHO = ("--user", "otto", "--reason", "a test")


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        yield server


@pytest.fixture
def msn(bind: Bind) -> RelayName:
    primary_of(bind)
    instances_make()
    return relay_name_make(bind)


@pytest.fixture(autouse=True)
def otto(db: None) -> User:
    return user_make("otto", "operator")


def command(*words: str) -> str:
    out = StringIO()
    call_command("ramp", *words, stdout=out)
    return out.getvalue()


def test_presets_name_their_sources() -> None:
    assert "sixths" in command("presets") and "May First wiki" in command("presets")
    assert {row["id"] for row in json.loads(command("presets", "--json"))} >= {"sixths", "ses-45"}


def test_a_plan_tells_the_checklist_and_every_day_and_starts_nothing(msn: RelayName) -> None:
    told = command("start", MSN, NEW, "--preset", "ses-45", "--plan")
    assert "Less than the smallest share, 3.1 %: no volume is known to cap it by." in told
    mail(timezone.now().date() - timedelta(days=2), old=9_000, new=0)
    told = command("start", MSN, NEW, "--preset", "ses-45", "--plan")
    assert "met  An instance sends from it: msn-b on rustin" in told
    assert "not known  PTR and forward name agree" in told
    assert told.count("\nday ") == 45
    assert "Less than the smallest share, 3.1 %: run by its cap." in told
    assert "Held at the greatest share, 50.0 %." in told
    document = json.loads(command("start", MSN, NEW, "--preset", "ses-45", "--plan", "--json"))
    assert len(document["days"]) == 45 and document["checklist"][0]["met"] is True
    assert not Ramp.objects.exists()


def test_a_ramp_is_started_watched_steered_and_cancelled(msn: RelayName, tmp_path: Path) -> None:
    (tmp_path / "table").write_text("10 %\n25 % 4000\n50 %\n")
    table = str(tmp_path / "table")
    started = command("start", MSN, NEW, "--table", table, "--rail", "max_bounce_share=0.02", *WHO)
    ramp = Ramp.objects.get()
    assert started == f"ramp {ramp.pk}: {NEW} under {MSN}, begins on {ramp.start_date}\n"
    assert ramp.rails == {"max_bounce_share": 0.02}
    live(ramp, noon(ramp.start_date))
    number = str(ramp.pk)
    assert "warming, day 1 of 3" in command("list")
    assert "day 2 of 3" in command("advance", number, *WHO)
    assert "held" in command("hold", number, *WHO, "--json")
    assert "day 1 of 3" in command("step-back", number, *WHO)
    assert "paused, day 1 of 3" in command("pause", number, *WHO)
    assert "warming" in command("resume", number, *WHO)
    live(ramp, noon(ramp.start_date))
    shown = command("show", number)
    assert "a step back, day 1, by otto: a test" in shown and f"{ramp.start_date}  planned 10.0 %" in shown
    assert json.loads(command("show", number, "--json"))["decisions"][0]["by"] == "otto"
    assert "cancelled" in command("cancel", number, "--restore", *WHO)
    state = msn.published.first()
    assert state is not None and state.parts == {OLD: 1}
    assert command("list") == "" and "cancelled" in command("list", "--all")
    assert json.loads(command("list", "--json")) == []


def test_the_days_that_come_are_told_as_a_table_and_edited_by_one(msn: RelayName, tmp_path: Path) -> None:
    command("start", MSN, NEW, "--preset", "sixths", *WHO)
    ramp = Ramp.objects.get()
    live(ramp, noon(ramp.start_date))
    told = command("edit", str(ramp.pk))
    assert told.splitlines()[0] == "16.6667 %" and len(told.splitlines()) == len(ramp.steps) - 1
    table = tmp_path / "table"
    table.write_text("20 % 2000\n40 % 5000\n")
    command("edit", str(ramp.pk), "--table", str(table), *WHO)
    ramp.refresh_from_db()
    assert ramp.steps[1:] == [{"share": 0.2, "cap": 2_000}, {"share": 0.4, "cap": 5_000}]
    assert AuditEvent.objects.get(action="ramp.edit").reason == "a test"
    (tmp_path / "falling").write_text("1 %\n")
    for words, why in (
        (("--table", str(tmp_path / "falling"), *WHO), "less than the day before"),
        (("--table", str(table), "--user", "otto"), "Say why"),
        (("--table", str(tmp_path / "none"), *WHO), "No such file"),
    ):
        with pytest.raises(CommandError, match=why):
            command("edit", str(ramp.pk), *words)


def test_curves_of_share_and_cap(msn: RelayName) -> None:
    ends = ("--first-share", "5", "--last-share", "40", "--first-cap", "100", "--last-cap", "9000")
    command("start", MSN, NEW, "--curve", "exponential", "--days", "10", *ends, *WHO)
    steps = Ramp.objects.get().steps
    assert (steps[0], steps[-1]) == ({"share": 0.05, "cap": 100}, {"share": 0.4, "cap": 9000})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("start", "gmail.example.org", NEW, "--preset", "sixths"), "There is no relay name"),
        (("start", MSN, NEW, "--preset", "weekly"), "There is no schedule 'weekly'"),
        (("start", MSN, NEW, "--table", "/nonexistent"), "No such file"),
        (("start", MSN, NEW, "--curve", "linear"), "neither a share nor a number"),
        (("start", MSN, "192.0.2.99", "--preset", "sixths", *WHO), "No instance sends from"),
        (("start", MSN, NEW, "--preset", "sixths", "--rail", "x"), "is not NAME=NUMBER"),
        (("start", MSN, NEW, "--preset", "sixths", "--user", "otto"), "Say why"),
        (("show", "99"), "There is no ramp 99"),
        (("hold", "99", *WHO), "There is no ramp 99"),
    ],
)
def test_what_is_refused_is_the_commands_error(words: tuple[str, ...], why: str, msn: RelayName) -> None:
    with pytest.raises(CommandError, match=why):
        command(*words)
