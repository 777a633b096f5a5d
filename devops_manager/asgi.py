"""The gateway's entry point: ``-k agents_app.gateway.worker.GatewayWorker devops_manager.asgi``."""

from __future__ import annotations

import gc
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")
django.setup()

from agents_app.gateway.application import Gateway  # noqa: E402 - needs the apps to be ready

application = Gateway()

# With 10,000 polls held, Python's cyclic garbage collector took 2.3 of the 7.7 s of CPU that 10,000
# commands cost: it goes through every held poll, and finds nothing. What is loaded now stays for
# good, and young objects are looked at less often.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 50, 1000)
