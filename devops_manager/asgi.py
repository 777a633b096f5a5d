"""The gateway's entry point: ``-k agents_app.gateway.worker.GatewayWorker devops_manager.asgi``."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")
django.setup()

from agents_app.gateway.application import Gateway  # noqa: E402 - needs the apps to be ready
from agents_app.gateway.garbage import keep_what_is_loaded  # noqa: E402

application = Gateway()

keep_what_is_loaded()
