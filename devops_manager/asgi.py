"""The gateway's entry point: ``gunicorn -k uvicorn_worker.UvicornWorker devops_manager.asgi``."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")
django.setup()

from agents_app.gateway.application import Gateway  # noqa: E402 - needs the apps to be ready

application = Gateway()
