"""What a load balancer asks: `/healthz` whether this process lives, `/readyz` whether it can work."""

import logging
from functools import cache

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fleet import heartbeats

logger = logging.getLogger(__name__)


class NotMigrated(Exception):
    """The database lacks tables or columns that this version needs."""


@require_safe
@never_cache
@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer at all: no database, no session."""
    return JsonResponse({"alive": True})


@require_safe
@never_cache
@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    """Tell whether the database answers and fits this version: 503 if not.

    The other processes' age is told and does not decide: pages work without them, and say so.
    Nothing of an error's text leaves the log: it may name hosts and users.
    """
    try:
        require_migrations()
        seen = heartbeats.last_seen()
    except DatabaseError:
        logger.exception("The database does not answer.")
        return JsonResponse({"ready": False, "database": "unavailable"}, status=503)
    except NotMigrated:
        return JsonResponse({"ready": False, "database": "not migrated"}, status=503)
    now = timezone.now()
    processes = {
        process: {
            "running": at is not None and now - at <= heartbeats.AWAY_AFTER,
            "seen_s_ago": None if at is None else round((now - at).total_seconds()),
        }
        for process, at in seen.items()
    }
    return JsonResponse({"ready": True, "database": "ok", "processes": processes})


@cache
def require_migrations() -> None:
    """Raise NotMigrated while a migration is missing; once none is, none can be until this process ends."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotMigrated
