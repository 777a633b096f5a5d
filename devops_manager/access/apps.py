"""Registers people, tokens and the audit trail with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    """The app below all others that has records: who may act, and who did."""

    name = "devops_manager.access"
    label = "access"
    verbose_name = _("Access")
    default_auto_field = "django.db.models.BigAutoField"
