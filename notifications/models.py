"""Alerts: stored events that people should see."""

from __future__ import annotations

from django.db import models

from worker.models import Event


class Alert(models.Model):
    """One alert, made from an event."""

    class Level(models.TextChoices):
        """How serious it is."""

        INFORMATION = "info", "Information"
        WARNING = "warning", "Warning"
        CRITICAL = "critical", "Critical"

    event = models.OneToOneField(Event, on_delete=models.CASCADE)
    level = models.CharField(max_length=8, choices=Level.choices)
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
