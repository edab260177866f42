"""Postfix instances, and the addresses they send from."""

from django.db import models
from django.db.models import Q

from relays.models.host import Host
from relays.models.provider import Provider


class Instance(models.Model):
    """One Postfix instance of a host, known by its configuration directory."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="instances")
    # multi_instance_name without "postfix-"; `default` for a plain /etc/postfix.
    name = models.CharField(max_length=63)
    config_dir = models.CharField(max_length=255)
    provider = models.ForeignKey(
        Provider, null=True, blank=True, on_delete=models.SET_NULL, related_name="instances"
    )
    # Matched by an administrator: the next inventory must not match it by name again.
    provider_by_hand = models.BooleanField(default=False)
    myhostname = models.CharField(max_length=253, blank=True)
    helo_name = models.CharField(max_length=253, blank=True)
    syslog_name = models.CharField(max_length=80, blank=True)
    queue_directory = models.CharField(max_length=255, blank=True)
    # The inventory row as relayctl sent it, checked: docs/relayctl.md gives its keys.
    inventory = models.JSONField(default=dict, blank=True)
    first_seen_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True, blank=True)
    # The greatest fence an operation was given here: the host refuses a smaller one than it has seen.
    fence = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["name", "host_id"]
        constraints = [
            models.UniqueConstraint(fields=["host", "config_dir"], name="instance_config_dir"),
            models.UniqueConstraint(
                fields=["host", "name"], condition=Q(removed_at=None), name="instance_name_while_present"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Address(models.Model):
    """An IP address that an instance sends from (smtp_bind_address), or listens on where it binds none."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="addresses")
    ip = models.GenericIPAddressField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["instance", "ip"], name="address_once_an_instance")]

    def __str__(self) -> str:
        return self.ip
