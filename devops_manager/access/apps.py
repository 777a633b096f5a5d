"""Registers people, tokens and the audit trail with Django."""

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from devops_manager.access.checks import tls_needs_a_trusted_proxy


class AccessConfig(AppConfig):
    """The app below all others that has records: who may act, and who did."""

    name = "devops_manager.access"
    label = "access"
    verbose_name = _("Access")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of a deployment."""
        checks.register(tls_needs_a_trusted_proxy, checks.Tags.security, deploy=True)
