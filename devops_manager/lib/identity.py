"""Who answers at this address: what the health pages say, so that no probe mistakes one server for
another that came to its port."""

from __future__ import annotations

from django.conf import settings


def identity(service: str) -> dict[str, str]:
    """Return the names of the service (``web`` or ``gateway``) and of its installation."""
    return {"service": service, "instance": settings.DM_INSTANCE}
