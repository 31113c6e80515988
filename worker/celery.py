"""The Celery application: the doorbell, and nothing more."""

from __future__ import annotations

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")

from django.conf import settings

from worker.process import die_with_parent


def broker_url(url: str) -> str:
    """Return a Redis URL as Celery wants it: sockets are spelled differently there."""
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    number = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("db", "0")
    return f"redis+socket://{path}?virtual_host={number}"


# Our worker is root on purpose: it reads every account's files, and takes nothing but JSON from the broker.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("holdfast")
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=3,
    broker_transport_options={"socket_timeout": 20, "socket_connect_timeout": 3, "visibility_timeout": 3600},
    task_default_queue="server.local",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
)
app.autodiscover_tasks(["worker", "backups", "notifications"])


@worker_process_init.connect
def _bound_to_parent(**_: object) -> None:
    """A pool process whose worker was killed must not go on: the next worker takes its items up."""
    die_with_parent()
