"""A redirect to a target that is reached by IPv6 alone and offers TLS: tried, used, told in both logs."""

from collections.abc import Iterator

import pytest

from tests.agent.postfix_host import listed, send, start, wait_for_deferred, wait_for_long_ids
from tests.agent.sandbox import Sandbox
from tests.agent.test_relayctl_redirect import change, lines, preflight, put_on_to, read, status
from tests.agent.test_relayctl_write import wait_until
from tests.agent.write_host import PROGRAM, A, B, make

pytestmark = pytest.mark.lab

SOURCE, TARGET = "fd00:25::25", "fd00:25::26"
TO = {"address": TARGET, "port": 2526}
_KEY, _CERTIFICATE = "/etc/postfix-msn-b/key.pem", "/etc/postfix-msn-b/certificate.pem"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Two instances with an IPv6 address each: msn-a defers all mail, msn-b is where it may go."""
    with Sandbox(tmp_path_factory.mktemp("six") / "host") as sandbox:
        for address in (SOURCE, TARGET):
            sandbox.run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")
        make(sandbox)
        for directory in (A, B):
            sandbox.run("postconf", "-c", directory, "-M", "tlsmgr/unix=tlsmgr unix - - n 1000? 1 tlsmgr")
        _make_target(sandbox)
        sandbox.run("postconf", "-c", A, "-e", "inet_protocols=all", "smtp_tls_loglevel=1")
        sandbox.run("postconf", "-c", A, "-P", f"smtp/unix/smtp_bind_address6={SOURCE}")
        sandbox.run("postfix", "-c", A, "stop")
        start(sandbox, A)
        sandbox.run(PROGRAM, "onboard", "--yes")
        sandbox.run(PROGRAM, "peers", "add", f"msn-b=[{TARGET}]:2526")
        wait_for_long_ids(sandbox, A)
        sandbox.run(PROGRAM, "guard")
        yield sandbox


def _make_target(host: Sandbox) -> None:
    host.run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=msn-b.relay.example",
        "-days", "2", "-keyout", _KEY, "-out", _CERTIFICATE,
    )  # fmt: skip
    master = host.inside(f"{B}/master.cf").read_text().replace("127.0.0.1:2526", f"[{TARGET}]:2526")
    host.write(f"{B}/master.cf", master)
    host.run(
        "postconf", "-c", B, "-e", "inet_protocols=all", "mynetworks=[fd00:25::]/64",
        "smtpd_tls_security_level=may", f"smtpd_tls_key_file={_KEY}", f"smtpd_tls_cert_file={_CERTIFICATE}",
    )  # fmt: skip
    start(host, B)


def test_mail_goes_to_an_ipv6_target_encrypted_and_both_logs_tell_of_it(machine: Sandbox) -> None:
    told = preflight(machine, to=TO, recipients=["x@hotmail.com"])
    assert [row for row in told.values() if row["kind"] == "check" and not row["ok"]] == []
    assert (told["peer"]["starttls"], told["peer"]["encrypts"]) == (True, True)
    cursor = read(machine, "flush.log", instance="msn-b", role="target", at_end=True).lines[-1]["cursor"]

    assert put_on_to(machine, TO, "hotmail.com").row["result"]["ok"] is True
    assert lines(machine) == [f"hotmail.com drain:[ipv6:{TARGET}]:2526"]
    assert status(machine)["to"] == f"[{TARGET}]:2526"
    assert change(machine, "flush.retry", domains=["hotmail.com"]).row["result"]["ok"] is True
    wait_until(
        lambda: not any("hotmail" in r["address"] for e in listed(machine, A) for r in e["recipients"])
    )

    log = machine.inside("/var/log/postfix-msn-a.log").read_text()
    assert f"TLS connection established to {TARGET}[{TARGET}]:2526" in log
    told_here = read(machine, "flush.log", instance="msn-a", role="source").lines[1]["rows"]
    out = [e for e in told_here if e[0] == "out"]
    assert {e[3] for e in out} == {"a@hotmail.com", "b@hotmail.com", "c@hotmail.com"}
    assert all(e[4] == "sent" and e[6] for e in out)
    there = read(machine, "flush.log", instance="msn-b", role="target", client=SOURCE, cursor=cursor).lines
    assert {e[6] for e in out} <= {e[2] for e in there[1]["rows"] if e[0] == "in"}
    assert change(machine, "redirect.clear").row["result"]["ok"] is True
    send(machine, A, "e@hotmail.com")
    wait_for_deferred(machine, A, 2)


def test_a_source_whose_postfix_speaks_no_ipv6_reaches_no_such_target(machine: Sandbox) -> None:
    machine.run("postconf", "-c", A, "-e", "inet_protocols=ipv4")
    try:
        reaches = preflight(machine, to=TO, recipients=[])["reaches"]
        assert not reaches["ok"] and "inet_protocols leave IPv6 out" in reaches["detail"]
        assert "add ipv6" in reaches["remedy"]
    finally:
        machine.run("postconf", "-c", A, "-e", "inet_protocols=all")


@pytest.mark.parametrize(("of_instance", "wanted"), [("", "may"), ("none", "may"), ("encrypt", "encrypt")])
def test_a_drain_that_no_longer_encrypts_as_it_should_is_drift(
    machine: Sandbox, of_instance: str, wanted: str
) -> None:
    machine.run("postconf", "-c", A, "-e", f"smtp_tls_security_level={of_instance}")
    machine.run("postconf", "-c", A, "-P", "drain/unix/smtp_tls_security_level=none")
    try:
        (problem,) = status(machine)["problems"]
        assert f"has smtp_tls_security_level='none' instead of {wanted!r}" in problem
        assert b"level = none" in machine.run("postconf", "-c", A, "-P", "drain/unix/*").stdout
    finally:
        machine.run("postconf", "-c", A, "-X", "smtp_tls_security_level")
        machine.run("postconf", "-c", A, "-P", "drain/unix/smtp_tls_security_level=may")
    assert status(machine)["problems"] == []


def smtp_level(host: Sandbox, level: str) -> None:
    """Have msn-a's services smtp and drain encrypt like this."""
    for service in ("smtp", "drain"):
        host.run("postconf", "-c", A, "-P", f"{service}/unix/smtp_tls_security_level={level}")


@pytest.mark.parametrize(
    ("level", "offered", "ok", "encrypts"),
    [
        ("none", "may", True, False),
        ("may", "none", True, False),
        ("encrypt", "may", True, True),
        ("encrypt", "none", False, False),
    ],
)
def test_a_source_that_insists_on_tls_is_refused_by_a_target_without(
    machine: Sandbox, level: str, offered: str, ok: bool, encrypts: bool
) -> None:
    smtp_level(machine, level)
    machine.run("postconf", "-c", B, "-e", f"smtpd_tls_security_level={offered}")
    machine.run("postfix", "-c", B, "reload")
    try:
        wait_until(lambda: preflight(machine, to=TO)["peer"]["starttls"] is (offered == "may"))
        told = preflight(machine, to=TO)
    finally:
        machine.run("postconf", "-c", B, "-e", "smtpd_tls_security_level=may")
        machine.run("postfix", "-c", B, "reload")
        machine.run("postconf", "-c", A, "-PX", "smtp/unix/smtp_tls_security_level")
        machine.run("postconf", "-c", A, "-P", "drain/unix/smtp_tls_security_level=may")
    assert (told["encrypts"]["ok"], told["peer"]["encrypts"]) == (ok, encrypts)
    if not ok:
        assert "smtp_tls_security_level=encrypt" in told["encrypts"]["detail"]
        assert "smtpd_tls_security_level=may" in told["encrypts"]["remedy"]


def test_what_root_is_told_to_add_is_the_target_that_was_named(machine: Sandbox) -> None:
    sent = change(machine, "redirect.set", to={"address": "fd00:25::27", "port": 25}, domains=["hotmail.com"],
                  lease_s=60)  # fmt: skip
    command = sent.error[2].rpartition("`relayctl.pyz peers add ")[2].removesuffix("`")
    assert command == "[fd00:25::27]:25"
    machine.run(PROGRAM, "peers", "add", command)
    try:
        assert "[fd00:25::27]:25" in machine.run(PROGRAM, "peers", "list").stdout.decode()
    finally:
        machine.run(PROGRAM, "peers", "remove", command)
