"""Registers the app with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AgentsConfig(AppConfig):
    """Configuration of agents_app."""

    name = "agents_app"
    verbose_name = _("Agents")
    default_auto_field = "django.db.models.BigAutoField"
