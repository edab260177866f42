"""Relay hosts: how to reach one, and how the last poll of it went."""

from django.db import models


class PollOutcome(models.TextChoices):
    """How the newest poll ended. What a page shows also depends on its age: domain/freshness.py."""

    NONE = "", "never polled"
    COMPLETE = "complete", "complete"
    INCOMPLETE = "incomplete", "incomplete"
    UNREACHABLE = "unreachable", "unreachable"
    KEY_CHANGED = "key_changed", "key changed"
    REFUSED = "refused", "refused"
    INCOMPATIBLE = "incompatible", "incompatible"


class Host(models.Model):
    """A machine that runs Postfix instances, reached through relayctl over SSH."""

    name = models.SlugField(max_length=63, unique=True)
    ssh_address = models.CharField(max_length=253, help_text="Host name or IP address.")
    ssh_port = models.PositiveIntegerField(default=22)
    ssh_user = models.CharField(max_length=32, default="relay-read")
    # "ssh-ed25519 AAAA…": pinned when an administrator accepted it; nothing is sent to any other key.
    host_key = models.TextField(blank=True)
    # What the host offered instead of the pinned key, for the administrator to compare.
    offered_key = models.TextField(blank=True)
    enabled = models.BooleanField(default=True, help_text="Off: not polled, its figures grow old.")
    poll_interval_s = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds; empty: the fleet's."
    )

    # Whether the bodies of its messages may be read, where root allows that on the host, too.
    bodies_allowed = models.BooleanField(default=False)

    next_poll_at = models.DateTimeField(null=True, blank=True, db_index=True)
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_outcome = models.CharField(max_length=20, choices=PollOutcome, blank=True, default=PollOutcome.NONE)
    outcome_since = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    last_duration_ms = models.PositiveIntegerField(null=True, blank=True)

    relayctl_version = models.CharField(max_length=20, blank=True)
    relayctl_sha256 = models.CharField(max_length=64, blank=True)
    boot_id = models.CharField(max_length=36, blank=True)
    postfix_version = models.CharField(max_length=20, blank=True)
    # The host's clock minus ours; beyond 30 s doctor warns.
    clock_skew_s = models.FloatField(null=True, blank=True)
    # From the newest snapshot: {"load": [1, 5, 15 min], "cpus": n, "spools": [{"path", ...}]}.
    facts = models.JSONField(default=dict, blank=True)
    inventory_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("poll_host", "Can have a host polled now"),
            ("examine_host", "Can have the doctor examine a host"),
            ("allow_bodies", "Can allow the bodies of a host's messages to be read"),
        ]

    def __str__(self) -> str:
        return self.name
