"""A trace that a page asked for: the question, how far each host is, and the lines that were found."""

from django.conf import settings
from django.db import models

from relays.domain.trace_question import KINDS


class TraceState(models.TextChoices):
    """How far a trace is."""

    WAITING = "waiting", "waiting"
    READING = "reading", "reading"
    DONE = "done", "done"
    STOPPED = "stopped", "stopped"


class Trace(models.Model):
    """A question to the logs of all hosts. It is its asker's alone, and forgotten after a day."""

    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="traces")
    kind = models.CharField(max_length=10, choices=list(KINDS.items()))
    text = models.CharField(max_length=900)
    # Seconds since 1970.
    since = models.PositiveIntegerField()
    until = models.PositiveIntegerField()
    state = models.CharField(max_length=7, choices=TraceState, default=TraceState.WAITING)
    asked_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    begun_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    attempt = models.PositiveIntegerField(default=0)
    # Of each host: services/tracing.py, HostSearch.
    hosts = models.JSONField(default=list)
    # More was found than is kept.
    cut = models.BooleanField(default=False)
    # Changes whenever anything of it does.
    version = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"trace {self.pk}"

    @property
    def is_live(self) -> bool:
        """Whether it is still being read, or to be."""
        return self.state in (TraceState.WAITING, TraceState.READING)


class TraceLine(models.Model):
    """A line of a host's log. Hostile text, and personal data."""

    trace = models.ForeignKey(Trace, on_delete=models.CASCADE, related_name="lines")
    host = models.CharField(max_length=63)
    time = models.PositiveIntegerField()
    instance = models.CharField(max_length=63, blank=True)
    queue_id = models.CharField(max_length=31, blank=True)
    text = models.TextField()

    class Meta:
        ordering = ["id"]
        default_permissions = ()
