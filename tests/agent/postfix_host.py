"""Real Postfix instances in a sandbox: made by hand in seconds, their queues filled by their own sendmail."""

import json
import time
from typing import Any

from tests.agent.sandbox import Sandbox

PYZ = "/usr/local/relayctl.pyz"

# Long ids have the second, the microsecond and the inode; short ones eleven hexadecimal digits at most.
_LONG_ID = 12

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 3600 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
 -o smtp_bind_address={address}
 -o smtp_helo_name=helo.{name}.example
showq unix n - n - - showq
flush unix n - n 1000? 0 flush
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""


def make_default(host: Sandbox, *directories: str, extra: str = "") -> None:
    """Write /etc/postfix/main.cf so that it lists these instances; it has no queue of its own running."""
    lines = [
        "compatibility_level = 3.6",
        "multi_instance_enable = yes",
        "multi_instance_wrapper = ${command_directory}/postmulti -p --",
        f"multi_instance_directories = {' '.join(directories)}",
    ]
    write_main_cf(host, "/etc/postfix", "\n".join(lines) + "\n" + extra)
    host.write("/etc/postfix/master.cf", _MASTER.format(port=2500, address="127.0.0.1", name="default"))


def write_main_cf(host: Sandbox, directory: str, text: str) -> None:
    """Write a main.cf that is not so new that each program waits for it to cool down."""
    host.write(f"{directory}/main.cf", text)
    host.run("touch", "-d", "10 sec ago", f"{directory}/main.cf")


def make_instance(host: Sandbox, name: str, port: int, extra: str = "") -> str:
    """Make an instance that defers what it is given; return its configuration directory."""
    directory = f"/etc/postfix-{name}"
    host.write(
        f"{directory}/master.cf", _MASTER.format(port=port, address=f"127.0.0.{port % 200}", name=name)
    )
    host.write(f"{directory}/dynamicmaps.cf", "")
    text = f"""\
compatibility_level = 3.6
multi_instance_name = postfix-{name}
multi_instance_group = relays
multi_instance_enable = yes
queue_directory = /var/spool/postfix-{name}
data_directory = /var/lib/postfix-{name}
myhostname = {name}.relay.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
local_recipient_maps =
defer_transports = smtp
maillog_file = /var/log/postfix-{name}.log
{extra}"""
    write_main_cf(host, directory, text)
    host.run("mkdir", "-p", f"/var/spool/postfix-{name}", f"/var/lib/postfix-{name}")
    host.run("chown", "postfix", f"/var/lib/postfix-{name}")
    return directory


def start(host: Sandbox, directory: str) -> None:
    """Start an instance."""
    host.run("postfix", "-c", directory, "start")


def send(host: Sandbox, directory: str, *recipients: str, sender: str = "list@lists.example") -> None:
    """Give an instance a message."""
    message = b"Subject: test\n\nhello\n"
    host.run("sendmail", "-C", directory, "-f", sender, "--", *recipients, stdin=message)


def listed(host: Sandbox, directory: str) -> list[dict[str, Any]]:
    """Return what `postqueue -j` says, as root."""
    output = host.run("postqueue", "-c", directory, "-j").stdout
    return [json.loads(line) for line in output.splitlines()]


def wait_for_deferred(host: Sandbox, directory: str, messages: int) -> None:
    """Wait until this many messages lie in the deferred queue."""
    give_up_at = time.monotonic() + 30
    while sum(entry["queue_name"] == "deferred" for entry in listed(host, directory)) < messages:
        assert time.monotonic() < give_up_at, listed(host, directory)
        time.sleep(0.2)


def wait_for_long_ids(host: Sandbox, directory: str) -> None:
    """Wait until no cleanup(8) from before a reload gives short queue ids; what is sent for it is deleted."""
    give_up_at = time.monotonic() + 30
    before = {entry["queue_id"] for entry in listed(host, directory)}
    probes = {""}
    while any(len(queue_id) < _LONG_ID for queue_id in probes):
        assert time.monotonic() < give_up_at, probes
        send(host, directory, "probe@example.org")
        wait_for_deferred(host, directory, len(before) + 1)
        probes = {entry["queue_id"] for entry in listed(host, directory)} - before
        host.run("postsuper", "-c", directory, "-d", "-", stdin="\n".join(probes).encode())


def ask(host: Sandbox, verb: str, *, deadline_s: int = 45, **args: Any) -> list[dict[str, Any]]:
    """Ask relayctl as a user without rights; return the lines of its reply."""
    request = {"v": 1, "req_id": "0123456789", "verb": verb, "args": args, "deadline_s": deadline_s}
    done = host.run(PYZ, stdin=json.dumps(request).encode(), as_nobody=True, check=False)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]
