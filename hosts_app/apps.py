"""Registers the app with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class HostsConfig(AppConfig):
    """Configuration of hosts_app."""

    name = "hosts_app"
    verbose_name = _("Hosts")
    default_auto_field = "django.db.models.BigAutoField"
