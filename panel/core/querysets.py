"""Every query starts from who asks."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.db import models

M_co = TypeVar("M_co", bound=models.Model, covariant=True)


class ScopedQuerySet(models.QuerySet[M_co]):
    """A query set whose rows belong to somebody; children say which of them a viewer sees."""

    def visible_to(self, viewer: Any) -> Self:
        """Return the rows ``viewer`` may know of: all for an administrator, none for a stranger."""
        if not getattr(viewer, "is_authenticated", False) or not viewer.is_active:
            return self.none()
        if viewer.is_admin:
            return self
        return self.filter(self._owned_by(viewer))

    def _owned_by(self, viewer: Any) -> models.Q:
        """Return the condition; it must not join a row to several others, or rows would come twice."""
        raise NotImplementedError
