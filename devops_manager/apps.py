"""Registers the project itself, for its management commands and templates."""

from django.apps import AppConfig


class DevopsManagerConfig(AppConfig):
    """The bottom app: it has commands, but no records."""

    name = "devops_manager"
    label = "devops_manager"
    default_auto_field = "django.db.models.BigAutoField"
