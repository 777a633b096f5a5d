"""Addresses whose views have a defect, for tests of what is answered then."""

from __future__ import annotations

from typing import Any, NoReturn

from django.urls import path

from devops_manager.urls import handler500
from devops_manager.urls import urlpatterns as served

__all__ = ["handler500", "urlpatterns"]


def _broken(_request: Any) -> NoReturn:
    raise ZeroDivisionError


urlpatterns = [path("broken", _broken), path("api/broken", _broken), *served]
