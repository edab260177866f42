"""`manage.py maillog FILE...`, on files as they lie on a host."""

import bz2
import gzip
import io
import json
import lzma
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from relays.services import logfiles, maillog
from relays.services.providers import domain_assign, load_shipped
from tests.factories import host_make, instance_make, provider_make

ROOT = Path(__file__).parents[2]
STAMP = "Nov 21 00:12:18 rustin postfix-msn-a"
SENT = (
    f"{STAMP}/smtp[9]: 4cD1TM1Xhjz9rxK: to=<a@hotmail.com>, relay=mx.example[198.51.100.9]:25, delay=1, "
    "delays=0/0/0/1, dsn=2.0.0, status=sent (250 OK)"
)
DEFERRED = SENT.replace(
    "2.0.0, status=sent (250 OK)", "4.7.0, status=deferred (host mx.example said: 421 wait)"
)
SUSPENDED = SENT.replace(
    "2.0.0, status=sent (250 OK)", "4.7.0, status=deferred (delivery temporarily suspended: x)"
)
BOUNCED = SENT.replace(
    "2.0.0, status=sent (250 OK)", "5.1.1, status=bounced (host mx.example said: 550 5.1.1 User unknown)"
)
OTHER = SENT.replace("postfix-msn-a", "postfix-therest-a").replace("hotmail.com", "acme.example")
ACCEPTED = f"{STAMP}/smtpd[9]: 4cD1TM1Xhjz9rxK: client=list1.example.org[192.0.2.31]"
LINES = [ACCEPTED, SENT, SENT, DEFERRED, SUSPENDED, BOUNCED, OTHER, "no line of anybody's"]
STATS = """\
postfix-msn-a:total:5
postfix-msn-a:bounced:1
postfix-msn-a:deferred:2
postfix-msn-a:sent:2
postfix-therest-a:total:1
postfix-therest-a:bounced:0
postfix-therest-a:deferred:0
postfix-therest-a:sent:1
"""
TEXT = "".join(f"{line}\n" for line in LINES).encode()
COMMAND = [sys.executable, "manage.py", "maillog"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(TEXT)
    return path


def run(*words: str | Path) -> str:
    out = io.StringIO()
    call_command("maillog", *map(str, words), stdout=out)
    return out.getvalue()


def document(*words: str | Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(run(*words, "--json"))
    return read


@pytest.mark.django_db
def test_stats_are_the_old_scripts_lines(log: Path) -> None:
    assert run("--stats", log) == STATS


@pytest.mark.django_db
def test_json_has_the_sums_by_instance_and_provider(log: Path) -> None:
    told = document(log)
    assert (told["lines"], told["unrecognized"], told["providers_from"]) == (8, 1, "shipped")
    nothing = dict.fromkeys(
        ["sent", "deferred", "bounced", "expired", "handed_over", "softbounce", "accepted"], 0
    )
    msn = nothing | {"sent": 2, "deferred": 2, "bounced": 1, "accepted": 1}
    assert told["instances"] == {"msn-a": msn, "therest-a": nothing | {"sent": 1}}
    assert told["providers"] == {"msn": msn, "therest": nothing | {"sent": 1}}
    assert told["dsn"] == {"2.0.0": 3, "4.7.0": 2, "5.1.1": 1}
    assert told["suspended"] == {"msn-a": 1}
    bounce = next(reply for reply in told["replies"] if reply["dsn"] == "5.1.1")
    assert (bounce["count"], bounce["code"], bounce["reason"], bounce["hard"]) == (
        1,
        550,
        "invalid-recipient",
        True,
    )
    assert {"digest", "text", "sample", "count", "code", "dsn", "reason"} <= set(bounce)


@pytest.mark.django_db
def test_the_table_is_for_people(log: Path) -> None:
    shown = run(log)
    assert "msn-a" in shown and "invalid-recipient" in shown
    assert "1 not recognised, 0 of them other programs'\n  no line of anybody's" in shown
    assert shown.endswith("Providers are those of the shipped list: there is no database.\n")


@pytest.mark.django_db
def test_the_database_tells_providers_names_and_who_is_of_the_fleet(log: Path) -> None:
    load_shipped()
    domain_assign(domain="hotmail.com", provider=provider_make("gmail"))
    host = host_make()
    instance = instance_make(host, "outlook-a", ip="198.51.100.9", provider=None)
    instance.syslog_name = "postfix-msn-a"
    instance.save()
    told = document(log)
    assert told["providers_from"] == "database"
    # The next hop is the fleet's own: nothing is delivered yet.
    assert told["instances"]["outlook-a"]["handed_over"] == 2
    assert (told["providers"]["gmail"]["deferred"], told["providers"]["gmail"]["sent"]) == (2, 0)
    # The old script knew the name in the log.
    assert run("--stats", log).startswith("postfix-msn-a:total:3\n")


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("named", [True, False])
def test_compressed_files_are_read_whatever_they_are_called(tmp_path: Path, kind: str, named: bool) -> None:
    path = tmp_path / (f"mail.log.1{kind}" if named else "mail.log.1")
    path.write_bytes(compressed(kind))
    assert run("--stats", path) == STATS


def compressed(kind: str) -> bytes:
    if kind == ".gz":
        return gzip.compress(TEXT)
    if kind == ".bz2":
        return bz2.compress(TEXT)
    if kind == ".xz":
        return lzma.compress(TEXT)
    return subprocess.run(["zstd", "-cq"], input=TEXT, capture_output=True, check=True).stdout


@pytest.mark.django_db
def test_several_files_are_one_log_even_where_one_ends_without_a_newline(log: Path, tmp_path: Path) -> None:
    older = tmp_path / "mail.log.1.gz"
    older.write_bytes(gzip.compress(SENT.encode()))
    assert document(older, log)["instances"]["msn-a"]["sent"] == 3


@pytest.mark.django_db
def test_counting_in_parts_counts_the_same(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = document(log)
    monkeypatch.setattr(maillog, "SUMMED_EVERY", 1)
    monkeypatch.setattr(logfiles, "PIECE", 7)
    assert document(log) == whole


@pytest.mark.django_db
def test_a_stamp_without_a_year_is_of_the_year_the_file_was_written_or_of_the_one_given(log: Path) -> None:
    os.utime(log, (0, 1_700_000_000))  # the 14th of November 2023
    assert document(log, "--timezone", "UTC")["first"] == "2022-11-21T00:12:18+00:00"
    assert document(log, "--timezone", "UTC", "--year", "2019")["first"] == "2019-11-21T00:12:18+00:00"
    assert document(log, "--timezone", "Asia/Tokyo", "--year", "2019")["first"] == "2019-11-20T15:12:18+00:00"


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [".gz", ".bz2", ".xz", ".zst"])
def test_a_compressed_file_that_is_cut_short_is_an_error_and_no_count(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mail.log{kind}"
    path.write_bytes(compressed(kind)[:-9])
    with pytest.raises(CommandError, match=r"mail\.log.*(cut short|damaged)"):
        run("--stats", path)


@pytest.mark.django_db
def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress(TEXT)[:-8] + b"\0" * 8)
    with pytest.raises(CommandError, match="is damaged"):
        run(path)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("missing.log", None, "missing.log: No such file or directory"),
        ("plain.gz", b"text", r"plain.gz is not a \.gz file"),
        ("empty.log", b"", r"Nothing to read: .*empty.log is empty"),
        ("empty.gz", b"", r"Nothing to read: .*empty.gz is empty"),
    ],
)
def test_what_cannot_be_read_is_said_by_name(
    tmp_path: Path, name: str, text: bytes | None, error: str
) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(CommandError, match=error):
        run(tmp_path / name)


@pytest.mark.django_db
def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is a directory"):
        run(tmp_path)


@pytest.mark.django_db
def test_a_log_without_one_line_of_postfix_is_told_beside_the_zeros(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.log"
    path.write_bytes(b"nothing\nhere\n")
    assert document(path)["instances"] == {}
    assert "None of the 2 lines of" in capsys.readouterr().err


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("flag", "value"), [("--year", "20260"), ("--year", "x"), ("--timezone", "Mars/Base")]
)
def test_a_year_or_zone_that_is_none_is_refused(log: Path, flag: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"{value}.* is not a"):
        run(log, flag, value)


def process(
    tmp_path: Path,
    *words: str,
    text: bytes | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command where there is no database, and check that it makes none."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["FLEET_DATA"] = str(tmp_path / "data")
    ended = subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=environment,
        input=text,
        stdout=stdout,
        stderr=stderr,
        check=False,
    )
    assert not list((tmp_path / "data").glob("*.sqlite3*"))
    return ended


def test_standard_input_is_read_compressed_too_and_no_database_is_needed(tmp_path: Path) -> None:
    for text in (TEXT, gzip.compress(TEXT)):
        ended = process(tmp_path, "--stats", "-", text=text)
        assert (ended.stdout.decode(), ended.stderr, ended.returncode) == (STATS, b"", 0)


def test_a_closed_pipe_ends_it_quietly_and_an_error_is_one_line(log: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = process(tmp_path, str(log), stdout=writer)
    os.close(writer)
    assert (ended.stderr, ended.returncode) == (b"", 141)
    ended = process(tmp_path, str(tmp_path))
    assert (len(ended.stderr.splitlines()), ended.stdout, ended.returncode) == (1, b"", 1)


def test_a_terminal_sees_how_far_it_is_and_standard_output_only_the_result(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(TEXT * 20_000)
    terminal, other_end = pty.openpty()
    ended = process(tmp_path, "--stats", str(path), stderr=other_end)
    os.close(other_end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert ended.stdout.decode().splitlines()[0] == "postfix-msn-a:total:100000"
    assert "#" in shown and " %" in shown and "/s" in shown
    # The line is wiped at the end.
    assert shown.endswith("\r\x1b[K")
