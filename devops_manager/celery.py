"""The Celery application. Jobs live in the apps' ``jobs.py``; ``apps.py`` loads them."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")

app = Celery("devops_manager")
app.config_from_object("django.conf:settings", namespace="CELERY")
