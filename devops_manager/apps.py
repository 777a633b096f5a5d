"""Registers the project itself, for its management commands, its templates and the apps' jobs."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class DevopsManagerConfig(AppConfig):
    """The bottom app: it has commands, but no records."""

    name = "devops_manager"
    label = "devops_manager"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load the checks, and every app's ``jobs``: each process knows the jobs by their names."""
        autodiscover_modules("checks", "jobs")
