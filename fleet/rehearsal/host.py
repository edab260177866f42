"""A host of the fleet: its disk, its namespaces, and what runs on it."""

import subprocess
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet.rehearsal import files, guard, namespaces, network, origins, postfix, spec, ssh, syslog
from fleet.rehearsal.core import Core
from fleet.rehearsal.errors import NotUp
from fleet.rehearsal.namespaces import Namespace
from fleet.rehearsal.postfix import Instance

_ROOT_SCRIPT = Path(__file__).with_name("host-root.sh")


class Host:
    """One host. Its disk belongs to the fleet's core, so it survives a reboot of the host."""

    spool_size = "1g"

    def __init__(self, host_spec: spec.HostSpec, core: Core, namespace: Namespace | None = None) -> None:
        self.spec = host_spec
        self.name = host_spec.name
        self.ssh_address = network.management_address(core.slot, host_spec.octet)
        self.ssh_port = ssh.PORT
        self._core = core
        self._disk = core.disks / host_spec.name
        self._namespace = namespace

    @property
    def namespace(self) -> Namespace:
        """The host's namespaces. Raises NotUp while it is off."""
        if self._namespace is None or not self.is_up:
            raise NotUp(f"the host {self.name} is off")
        return self._namespace

    @property
    def is_up(self) -> bool:
        return self._namespace is not None and self._namespace.root.exists()

    @property
    def host_key(self) -> str:
        return ssh.public_key(self.namespace)

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple(Instance(each, self.name, self.namespace) for each in self.spec.instances)

    def run(
        self, argv: Iterable[str], *, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host as root, whatever its exit status."""
        return self.namespace.run(*argv, stdin=stdin, timeout_s=timeout_s, check=False)

    def path(self, inside: str) -> Path:
        """Return where a path of the host lies as this process sees it."""
        return self.namespace.root / inside.lstrip("/")

    def create(self) -> None:
        """Make the disk, boot for the first time and configure; nothing is started yet."""
        self._make_disk()
        self._boot()
        self._configure()

    def boot(self) -> None:
        """Boot again from the disk as it is, with a new boot id."""
        self._boot()
        if not self.spec.origin:
            guard.look_once(self.namespace)
        self.start_mail()
        self.start_guard()
        self.open_ssh()

    def open_ssh(self) -> None:
        """Start sshd; an origin has none."""
        if not self.spec.origin:
            ssh.start(self.namespace)

    def start_guard(self) -> None:
        """Start relayctl's guard, as an init script does without systemd; an origin has none."""
        if not self.spec.origin:
            guard.start(self.namespace)

    def power_off(self) -> None:
        """Cut the power: every process of the host is killed, its disk stays."""
        namespace = self.namespace
        network.part_host(self._core.namespace, self.spec)
        namespace.kill()
        self._namespace = None

    def reboot(self) -> None:
        """Stop Postfix in order, then what takes its last lines, and boot again."""
        _in_parallel(self.instances, lambda instance: instance.postfix("stop", check=False))
        if self._core.logs == "rsyslog":
            syslog.stop(self.namespace)
        self.power_off()
        self.boot()

    def _make_disk(self) -> None:
        disk = str(self._disk)
        script = (
            'mkdir -p "$1/root" "$1/upper" "$1/work" "$1/spool" "$1/log" && '
            'mount -t tmpfs -o size="$2" tmpfs "$1/spool" && chgrp adm "$1/log"'
        )
        self._core.namespace.run("/bin/sh", "-c", script, "disk", disk, self.spool_size)
        upper = self._core.disks_outside / self.name / "upper"
        upper.chmod(0o755)
        files.write(upper, "/etc/hostname", f"{self.name}\n")
        files.write(
            upper, "/etc/hosts", f"127.0.0.1 localhost\n{self.spec.address} {self._fqdn} {self.name}\n"
        )
        files.write(upper, "/etc/resolv.conf", f"nameserver {spec.RESOLVER}\n")

    @property
    def _fqdn(self) -> str:
        return f"{self.name}.{spec.RELAY_DOMAIN}"

    def _boot(self) -> None:
        files.write(self._core.disks_outside / self.name, "boot_id", f"{uuid.uuid4()}\n")
        unshare = namespaces.UNSHARE
        self._namespace = namespaces.start(
            self.name,
            token=self._core.token,
            command=self._core.namespace.command(
                *unshare, "/bin/sh", str(_ROOT_SCRIPT), str(self._disk), self.name, *namespaces.INIT
            ),
            log=self._core.folder / f"{self.name}.log",
        )
        network.join_host(self._core.namespace, self._namespace, self.spec, self._core.slot)

    def _configure(self) -> None:
        host = self.namespace
        files.write(
            host.root, "/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
        )
        # A long one would run at every SSH command.
        files.write(host.root, "/root/.bashrc", "")
        postfix.clear(host)
        if not self.instances[0].spec.plain:
            postfix.write_list(host, self.instances)
        for instance in self.instances:
            if self.spec.origin:
                origins.configure(instance, logs=self._core.logs)
            else:
                instance.configure(logs=self._core.logs)
        if not self.spec.origin:
            ssh.configure(host)

    def start_mail(self) -> None:
        """Start syslog and every instance."""
        if self._core.logs == "rsyslog":
            syslog.start(self.namespace, self.spec.log_format)
        _in_parallel(self.instances, Instance.start)


def _in_parallel(instances: tuple[Instance, ...], act: Callable[[Instance], None]) -> None:
    with ThreadPoolExecutor(max_workers=len(instances)) as pool:
        list(pool.map(act, instances))
