"""The backend of django-prometheus, with one class of cursors for all connections.

Its own makes one each time that a connection is taken from the pool: for every request and every
batch a class, which only the cyclic garbage collector takes away again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django_prometheus.db.backends.postgresql import base
from django_prometheus.db.common import ExportingCursorWrapper

_exporting = cache(ExportingCursorWrapper)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that counts what is done with it."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return how to connect, as Django does, with cursors that count."""
        parameters: dict[str, Any] = super(base.DatabaseWrapper, self).get_connection_params()
        parameters["cursor_factory"] = _exporting(
            parameters["cursor_factory"], self.alias, self.vendor
        )
        return parameters
