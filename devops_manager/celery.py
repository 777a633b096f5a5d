"""The Celery application. Jobs live in the apps' ``jobs.py``; ``apps.py`` loads them."""

import os
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")

_LONGEST_PAUSE_SECONDS = 2


class PromptConnection(Connection):
    """Looks for a broker that is away every two seconds, as long as it takes.

    Celery's own pauses grow to half a minute and have no setting: so long would the first jobs wait
    after Redis is back, while the web process, which sees it at once, no longer runs them itself.
    """

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        """Connect, or wait until that is possible."""
        options.setdefault("interval_max", _LONGEST_PAUSE_SECONDS)
        return super().ensure_connection(*args, **options)


class PromptAMQP(AMQP):
    """Celery's messaging over that connection."""

    Connection = BrokerConnection = PromptConnection


app = Celery("devops_manager", amqp=PromptAMQP)
app.config_from_object("django.conf:settings", namespace="CELERY")
