"""What ``manage.py check --deploy`` says of who is believed about clients."""

from __future__ import annotations

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name for it

from devops_manager.lib.client_address import NOBODY


def tls_needs_a_trusted_proxy(**_kwargs: object) -> list[CheckMessage]:
    """Warn where no request can ever be seen to have come over TLS."""
    if not settings.DM_TLS or settings.DM_TRUSTED_PROXIES != NOBODY:
        return []
    return [
        Warning(
            "DM_TLS is on and DM_TRUSTED_PROXIES is empty: X-Forwarded-Proto is believed from "
            "nobody, so every request is sent on to HTTPS for ever.",
            hint="Set DM_TRUSTED_PROXIES to the addresses of the proxy that does TLS.",
            id="access.W001",
        )
    ]
