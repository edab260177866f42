"""How a host's two doors are reached: the read user's and the write user's."""

from relays.models import Host
from relays.remote import keys, write
from relays.remote.ssh import Target


def read_target(host: Host) -> Target:
    """Return how SSH reaches a host to read."""
    return Target(host.ssh_address, host.ssh_port, host.ssh_user, host.host_key, keys.read_key_path())


def write_target(host: Host) -> Target:
    """Return how SSH reaches a host to change it."""
    return Target(host.ssh_address, host.ssh_port, write.USER, host.host_key, keys.write_key_path())
