"""Postfix instances of a host, configured the way postmulti does it, and asked the way an operator does."""

import json
from dataclasses import dataclass
from typing import Any

from fleet.rehearsal import files, spec, syslog
from fleet.rehearsal.namespaces import Namespace

# `{bind}` sets the addresses that the instance sends from.
_MASTER_CF = """\
smtp inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
    {bind}
relay unix - - n - - smtp
    {bind}
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {queue_directory}
data_directory = {data_directory}
syslog_name = {syslog_name}
myhostname = {myhostname}
smtp_helo_name = {myhostname}
inet_interfaces = {addresses}
inet_protocols = {protocols}
mydestination =
local_recipient_maps =
local_transport = error:5.1.1 no mailbox here
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8 {network}.0/24 [{network6}:]/64
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
enable_long_queue_ids = yes
fast_flush_domains = static:all
smtputf8_enable = no
smtp_tls_security_level = none
"""

_MULTI = """\
multi_instance_name = {syslog_name}
multi_instance_group = relay
multi_instance_enable = yes
"""

# The first instance of a host with several: it sends nothing, it only lists the others.
_LIST = """\
compatibility_level = 3.6
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
multi_instance_wrapper = ${{command_directory}}/postmulti -p --
multi_instance_directories = {directories}
"""


# What `postfix start` would make and check by itself, in several times the time: quick-start is the mark by
# which `postfix quick-stop` tells the next start that all is in order.
_MAKE_FOLDERS = """
install -d -m 755 "$1"
install -d -m 755 -o postfix "$2"
cd "$1"
install -d -m 700 -o postfix active bounce corrupt defer deferred flush hold incoming private saved trace
install -d -m 730 -o postfix -g postdrop maildrop
install -d -m 710 -o postfix -g postdrop public
install -d -m 755 pid
touch quick-start
"""


@dataclass(frozen=True)
class Instance:
    """One instance on a running host."""

    spec: spec.InstanceSpec
    host_name: str
    namespace: Namespace

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def syslog_name(self) -> str:
        return "postfix" if self.spec.plain else f"postfix-{self.name}"

    @property
    def config_dir(self) -> str:
        return f"/etc/{self.syslog_name}"

    @property
    def queue_directory(self) -> str:
        return f"/var/spool/{self.syslog_name}"

    @property
    def myhostname(self) -> str:
        return self.spec.hostname(self.host_name)

    @property
    def _bind(self) -> str:
        bind = f"-o smtp_bind_address={self.spec.address}"
        return f"{bind} -o smtp_bind_address6={self.spec.address6}" if self.spec.address6 else bind

    def configure(self, *, logs: str, more: str = "") -> None:
        """Write main.cf and master.cf and make the folders; `logs` is `rsyslog` or `postlogd`.

        `more` is appended to main.cf.
        """
        root = self.namespace.root
        text = _MAIN_CF.format(
            queue_directory=self.queue_directory,
            data_directory=f"/var/lib/{self.syslog_name}",
            syslog_name=self.syslog_name,
            myhostname=self.myhostname,
            addresses=" ".join(self.spec.addresses),
            protocols="all" if self.spec.address6 else "ipv4",
            network=spec.HOST_NET,
            network6=spec.HOST_NET6,
        )
        text += "" if self.spec.plain else _MULTI.format(syslog_name=self.syslog_name)
        if logs == "postlogd":
            text += f"maillog_file = {syslog.MAIL_LOG}\n"
        files.settle(files.write(root, f"{self.config_dir}/main.cf", text + more))
        files.settle(files.write(root, f"{self.config_dir}/master.cf", _MASTER_CF.format(bind=self._bind)))
        folders = (self.queue_directory, f"/var/lib/{self.syslog_name}")
        self.namespace.run("/bin/sh", "-ec", _MAKE_FOLDERS, "folders", *folders)

    def postfix(self, *arguments: str, check: bool = True) -> None:
        """Run postfix(1) for this instance: `start`, `stop`, `reload`, `flush`."""
        self.namespace.run("/usr/sbin/postfix", "-c", self.config_dir, *arguments, check=check, timeout_s=90)

    def start(self) -> None:
        self.postfix("start")

    def stop(self) -> None:
        self.postfix("stop")

    def running(self) -> bool:
        done = self.namespace.run("/usr/sbin/postfix", "-c", self.config_dir, "status", check=False)
        return done.returncode == 0

    def set(self, **settings: str) -> None:
        """Change main.cf as `postconf -e` does, and reload."""
        pairs = [f"{name}={value}" for name, value in settings.items()]
        self.namespace.run("/usr/sbin/postconf", "-c", self.config_dir, "-e", *pairs)
        files.settle(self.namespace.root / f"{self.config_dir}/main.cf".lstrip("/"))
        self.postfix("reload")

    def postqueue(self) -> list[dict[str, Any]]:
        """Return what `postqueue -j` lists: one document a message, as postqueue(1) describes it."""
        listed = self.namespace.run("/usr/sbin/postqueue", "-c", self.config_dir, "-j")
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def counts(self) -> dict[str, int]:
        """Return how many messages `postqueue -j` lists in each queue."""
        counts = {"incoming": 0, "active": 0, "deferred": 0, "hold": 0}
        for message in self.postqueue():
            counts[message["queue_name"]] = counts.get(message["queue_name"], 0) + 1
        return counts

    def log(self) -> str:
        """Return the mail log lines of this instance."""
        path = self.namespace.root / syslog.MAIL_LOG.lstrip("/")
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(line for line in lines if f" {self.syslog_name}/" in line)


def clear(namespace: Namespace) -> None:
    """Take the machine's own instances out of a new host."""
    for found in (namespace.root / "etc").glob("postfix-*"):
        namespace.run("/usr/bin/rm", "-rf", f"/etc/{found.name}")


def write_list(namespace: Namespace, instances: tuple[Instance, ...]) -> None:
    """Write the /etc/postfix that lists a host's instances for postmulti(1)."""
    directories = " ".join(instance.config_dir for instance in instances)
    main_cf = files.write(namespace.root, "/etc/postfix/main.cf", _LIST.format(directories=directories))
    files.settle(main_cf)
