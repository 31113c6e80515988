"""Settings that administrators change in the panel."""

from __future__ import annotations

from django.db import models


class Option(models.Model):
    """The value of one setting that differs from its default."""

    key = models.CharField(max_length=60, primary_key=True)
    value = models.JSONField()
    changed_at = models.DateTimeField(auto_now=True)
