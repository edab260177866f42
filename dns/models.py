"""Zones, relay names and their weights, and what was published of them."""

from django.db import models
from django.db.models import Q

from dns.domain.weights import Rendering
from relays.models import Operation, Origin, Provider


class Method(models.TextChoices):
    """How a zone is written."""

    RFC2136 = "rfc2136", "dynamic update (RFC 2136)"
    POWERDNS = "powerdns", "PowerDNS API"
    MANUAL = "manual", "by hand"


class Zone(models.Model):
    """A DNS zone with relay names: how to write it, and which servers must serve what was written."""

    name = models.CharField(max_length=253, unique=True)
    method = models.CharField(max_length=10, choices=Method, default=Method.RFC2136)
    # The server that takes changes and is read before them.
    primary = models.CharField(max_length=80, blank=True)
    # All authoritative servers, the primary among them: "192.0.2.53" or "192.0.2.53:5300".
    servers = models.JSONField(default=list)
    tsig_name = models.CharField(max_length=253, blank=True)
    tsig_algorithm = models.CharField(max_length=20, default="hmac-sha256")
    api_url = models.CharField(max_length=200, blank=True)
    api_server_id = models.CharField(max_length=80, default="localhost")
    # The TSIG secret or API key, as relays/services/sealing.py seals it.
    sealed_secret = models.CharField(max_length=1000, blank=True)
    # Names that we may write, and with each the names under it.
    allowed_names = models.JSONField(default=list)
    # Who hands mail to its relay names; none: every origin. Only their mail is counted as observed.
    origins = models.ManyToManyField(Origin, blank=True, related_name="zones")

    class Meta:
        ordering = ["name"]
        permissions = [("change_weights", "Can change weights of relay names")]

    def __str__(self) -> str:
        return self.name


class RelayName(models.Model):
    """A provider's hostname: its records say which addresses get how much mail."""

    zone = models.ForeignKey(Zone, on_delete=models.PROTECT, related_name="relay_names")
    name = models.CharField(max_length=253, unique=True)
    provider = models.ForeignKey(
        Provider, null=True, blank=True, on_delete=models.SET_NULL, related_name="relay_names"
    )
    ttl = models.PositiveIntegerField(default=600)
    rendering = models.CharField(
        max_length=5, choices=[(one.value, one.value) for one in Rendering], default=Rendering.MX
    )
    # So many warm addresses are always published.
    min_warm = models.PositiveSmallIntegerField(default=1)
    # The serial and records of the primary when it was last read.
    served = models.JSONField(default=list)
    served_at = models.DateTimeField(null=True)
    # {"192.0.2.53": "..."}: what the check found wrong with each server; empty where all is as it should be.
    drift = models.JSONField(default=dict)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Weight(models.Model):
    """What an address is to carry of a relay name's mail, by its part of all weights that are on."""

    relay_name = models.ForeignKey(RelayName, on_delete=models.CASCADE, related_name="weights")
    address = models.GenericIPAddressField()
    weight = models.PositiveIntegerField(default=1)
    # Out of DNS, and its weight is kept for when it comes back.
    is_on = models.BooleanField(default=True)
    # Warming up where not: such addresses alone are never published.
    is_warm = models.BooleanField(default=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["relay_name", "address"], name="weight_once_an_address"),
            models.CheckConstraint(condition=Q(weight__gte=1, weight__lte=100_000), name="weight_in_range"),
        ]

    def __str__(self) -> str:
        return f"{self.address} {self.weight}"


class PublishedState(models.Model):
    """What a relay name served from then on: found there, or written by an operation."""

    relay_name = models.ForeignKey(RelayName, on_delete=models.CASCADE, related_name="published")
    at = models.DateTimeField()
    # When no resolver holds what was there before.
    effective_at = models.DateTimeField()
    operation = models.OneToOneField(
        Operation, null=True, on_delete=models.SET_NULL, related_name="published"
    )
    serial = models.PositiveBigIntegerField()
    records = models.JSONField()
    # {"192.0.2.11": parts}: of the records, and the weights that they are to express.
    parts = models.JSONField()
    wanted = models.JSONField()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["relay_name", "-at"], name="published_newest")]

    def __str__(self) -> str:
        return f"{self.relay_name_id} at {self.at:%Y-%m-%d %H:%M}"
