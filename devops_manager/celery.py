"""The Celery application. Jobs live in the apps' ``jobs.py``; ``apps.py`` loads them."""

import os
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from django.db import connection
from kombu import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")

_LONGEST_PAUSE_SECONDS = 2
# More than a process of the pool lives for.
_JOBS_A_CONNECTION = 10_000


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


# Left alone, Celery closes the connection pool before and after each job: every job connected twice
# and had all its statements planned anew, which was most of what a small task cost. (It looks this
# one up by a name that the namespace of the settings cannot give.)
app = Celery("devops_manager", amqp=PromptAMQP, changes={"CELERY_DB_REUSE_MAX": _JOBS_A_CONNECTION})
app.config_from_object("django.conf:settings", namespace="CELERY")


@signals.task_prerun.connect
def drop_lost_connection(**_: object) -> None:
    """Give a connection up that broke while no job ran, so that the next job has a living one."""
    if connection.connection is not None and not connection.is_usable():
        connection.close()
