"""DevOps Manager: tasks for many hosts, dispatched, run, and truly reported."""

from devops_manager.celery import app as celery_app

__all__ = ["celery_app"]
