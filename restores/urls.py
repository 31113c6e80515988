"""Doors to restores."""

from __future__ import annotations

from django.urls import path

from restores import views

app_name = "restores"
urlpatterns = [
    path("snapshots/<int:number>/restore/", views.restore_new, name="restore_new"),
    path("restores/<int:number>/undo/", views.restore_back, name="restore_undo"),
]
