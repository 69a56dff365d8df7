"""The signs of life of the processes that deliver."""

from __future__ import annotations

import os
import socket
import uuid

from django.conf import settings

from notifications import metrics
from notifications.models import Message, Worker
from notifications.services.clock import moment

#: Seconds between two beats; three missed ones are silence.
BEAT = 10.0


class Heartbeat:
    """The row of one process. `engine` says what kind of process it is."""

    def __init__(self, engine: str) -> None:
        self.id = uuid.uuid4()
        self.engine = engine

    def beat(self) -> None:
        said = {
            "beat_at": moment(),
            "sent": metrics.finished(Message.State.SENT),
            "failed": metrics.finished(Message.State.FAILED),
        }
        if Worker.objects.filter(pk=self.id).update(**said):
            return
        # New, or silent for so long (a laptop that slept) that housekeeping took it for dead.
        Worker.objects.create(
            id=self.id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            version=settings.RELEASE,
            engine=self.engine,
            started_at=moment(),
            **said,
        )

    def stop(self) -> None:
        Worker.objects.filter(pk=self.id).delete()
