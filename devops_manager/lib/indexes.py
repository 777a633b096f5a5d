"""An index whose name may be as long as PostgreSQL allows."""

from __future__ import annotations

from django.db import models


class PostgresIndex(models.Index):
    """``models.Index`` without Django's 30-character limit, which other databases need."""

    max_name_length = 63
