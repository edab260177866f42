"""The audit trail: events that only ever grow in number, chained so that a changed one shows.

The database refuses to change or delete an event (triggers of migration 0009), and the key of the chain lies
outside it: docs/decisions/0091-audit-chain.md.
"""

from django.db import models


class AuditEvent(models.Model):
    """Who did what, when, from where, why, and what came of it. domain/audit.py defines the hash.

    Names stand here as they were: a user, host or instance that is renamed or gone later changes no event.
    """

    # Gapless from 1, given under the lock of AuditHead.
    seq = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    # user, token, shell (a command), system (the console itself), host (a lease that ended there), anonymous.
    actor_kind = models.CharField(max_length=12)
    actor_id = models.PositiveBigIntegerField(null=True)
    actor_name = models.CharField(max_length=150)
    # "operation.queue.run", "login", "audit.export": docs/audit.md lists them.
    action = models.CharField(max_length=60, db_index=True)
    # requested, denied, begun, succeeded, failed, unknown, reverted, or noted where nothing was to be done.
    phase = models.CharField(max_length=12)
    object_type = models.CharField(max_length=30, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=255, blank=True)
    host = models.CharField(max_length=63, blank=True)
    instance = models.CharField(max_length=63, blank=True)
    operation_id = models.PositiveBigIntegerField(null=True, db_index=True)
    reason = models.CharField(max_length=500, blank=True)
    # Canonical JSON: address, user agent, roles, step, fence, request id, hashes, counts, before and after.
    details = models.TextField(default="{}")
    # Of AuditParams.text; empty where there are none.
    params_sha256 = models.CharField(max_length=64, blank=True)
    key_id = models.CharField(max_length=16)
    prev_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["seq"]
        permissions = [("export_audit", "Can take the audit trail out of the console")]


class AuditParams(models.Model):
    """What was asked for, as canonical JSON. It may hold personal data, so it can be deleted.

    Only its digest is in the chain: a deleted one breaks nothing, a changed one shows.
    """

    event = models.OneToOneField(
        AuditEvent, on_delete=models.DO_NOTHING, primary_key=True, related_name="params"
    )
    text = models.TextField()


class AuditHead(models.Model):
    """The newest event of the chain: one row, locked by whoever appends."""

    seq = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64)
