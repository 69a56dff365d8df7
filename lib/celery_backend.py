"""A backend of Django's Tasks API over Celery. Celery reads its own settings from those named `CELERY_…`."""

from __future__ import annotations

from typing import Any

from celery import Celery
from django.core.exceptions import SuspiciousOperation
from django.utils import timezone
from django.utils.module_loading import import_string

try:
    from django.tasks import Task, TaskResult, TaskResultStatus
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:  # Django 5.2
    from django_tasks.backends.base import BaseTaskBackend  # type: ignore[assignment]
    from django_tasks.base import Task, TaskResult, TaskResultStatus  # type: ignore[assignment]

app = Celery("switchboard")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task(name="lib.celery_backend.run", ignore_result=True)  # type: ignore[untyped-decorator]
def run(path: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Call the task of this path in the worker, and nothing that is no task."""
    if not isinstance(task := import_string(path), Task):
        raise SuspiciousOperation("not a task")
    task.call(*args, **kwargs)


class CeleryBackend(BaseTaskBackend):
    """`TASKS = {"default": {"BACKEND": "lib.celery_backend.CeleryBackend"}}`; results are not kept."""

    supports_defer = supports_async_task = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        queue = None if task.queue_name == "default" else task.queue_name
        # One try: a broker that is away must not delay the request.
        sent = run.apply_async(
            (task.module_path, list(args), dict(kwargs)), queue=queue, eta=task.run_after, retry=False
        )
        return TaskResult(
            task=task,
            id=sent.id,
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
