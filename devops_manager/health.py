"""Is this process alive, can it serve, and what do its figures say."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import redis
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django_redis import get_redis_connection

from devops_manager import metrics as figures
from devops_manager.lib.identity import identity
from devops_manager.lib.problem import RETRY_SECONDS

if TYPE_CHECKING:
    from django.http import HttpRequest

logger = logging.getLogger(__name__)

_SERVICE = "web"

# Set once every migration was found applied; they do not come undone under a running process.
_migrated = threading.Event()


# Another method is answered with 405, not with a page about forged forms.
@csrf_exempt
@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process serves; asks neither the database nor Redis."""
    return JsonResponse({"status": "ok"} | identity(_SERVICE))


@csrf_exempt
@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 when the database is there and migrated, else 503 with the reason.

    Redis away is only ``degraded``: everything works without it, slower.
    """
    reason = _database_fault()
    checks = {"database": reason or "ok", "redis": _redis_state()}
    if reason:
        return JsonResponse(
            {"status": "unavailable", "checks": checks} | identity(_SERVICE),
            status=503,
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
    status = "ok" if checks["redis"] == "ok" else "degraded"
    return JsonResponse({"status": status, "checks": checks} | identity(_SERVICE))


@csrf_exempt
@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """Answer with all figures in Prometheus' text format; see docs/api.md for who may ask."""
    return HttpResponse(figures.render(), content_type=figures.CONTENT_TYPE)


def _database_fault() -> str:
    """Return why the database cannot serve, or an empty text."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if _migrated.is_set():
            return ""
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return "migrations are not applied: run manage.py migrate"
    except Error as error:
        logger.warning("the database cannot be reached: %s", error)
        return "unreachable"
    _migrated.set()
    return ""


def _redis_state() -> str:
    try:
        get_redis_connection("default").ping()
    except (redis.RedisError, OSError):
        return "unreachable"
    return "ok"
