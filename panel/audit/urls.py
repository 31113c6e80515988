"""Doors to the audit log."""

from __future__ import annotations

from django.urls import path

from panel.audit import views

app_name = "audit"
urlpatterns = [
    path("", views.event_list, name="event_list"),
    path("check/", views.chain_check, name="chain_check"),
]
