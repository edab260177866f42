"""Who hands mail to the relays: origins, the clients they are known by, and what each handed over."""

from django.db import models

from relays.models.instance import Instance


class Origin(models.Model):
    """A list server that relays through the fleet."""

    name = models.CharField(max_length=253, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Client(models.Model):
    """An address that instances accepted mail from. Without an origin it waits for adoption."""

    ip = models.GenericIPAddressField(unique=True)
    # As the relay's resolver named it. Hostile text.
    name = models.CharField(max_length=253, blank=True)
    origin = models.ForeignKey(
        Origin, null=True, blank=True, on_delete=models.SET_NULL, related_name="clients"
    )
    first_seen_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["ip"]

    def __str__(self) -> str:
        return self.ip


class _AcceptedCounts(models.Model):
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, db_index=False, related_name="+")
    client = models.ForeignKey(Client, on_delete=models.CASCADE, db_index=False, related_name="+")
    ts = models.PositiveIntegerField()
    messages = models.PositiveIntegerField(default=0)
    # Recipients that it was not allowed to relay to.
    denied = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True


class Accepted(_AcceptedCounts):
    """Messages an instance accepted from a client in five minutes, and recipients it denied."""

    pk = models.CompositePrimaryKey("instance_id", "ts", "client_id")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="accepted_ts")]


class AcceptedHour(_AcceptedCounts):
    """Messages an instance accepted from a client in an hour, and recipients it denied."""

    pk = models.CompositePrimaryKey("instance_id", "client_id", "ts")

    class Meta:
        indexes = [models.Index(fields=["ts"], name="accepted_hour_ts")]


class AcceptedDay(_AcceptedCounts):
    """Messages an instance accepted from a client in a UTC day, and recipients it denied."""

    pk = models.CompositePrimaryKey("instance_id", "client_id", "ts")
