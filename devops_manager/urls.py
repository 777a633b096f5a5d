"""Routes: API, pages, admin, health and metrics."""

from __future__ import annotations

urlpatterns: list[object] = []
