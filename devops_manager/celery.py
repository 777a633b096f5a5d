"""The Celery application. Jobs live in the apps' ``jobs.py``; ``apps.py`` loads them."""

import os
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from django.db import connection
from kombu import Connection
from psycopg.pq import TransactionStatus

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
def begin_afresh(**_: object) -> None:
    """Give the session up if it broke since the last job, or if that job was torn out of it.

    A time limit interrupts a job anywhere, also where a transaction is just being begun or ended.
    What is left then looks usable, and whatever ran in it would never be committed.
    """
    torn = connection.in_atomic_block or not connection.autocommit
    connection.in_atomic_block = False  # or it could not even be closed
    session = connection.connection
    if session is None:
        return
    idle = session.info.transaction_status is TransactionStatus.IDLE
    if torn or not idle or not connection.is_usable():
        connection.close()
