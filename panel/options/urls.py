"""Doors to the settings."""

from __future__ import annotations

from django.urls import path

from panel.options import views

app_name = "options"
urlpatterns = [path("", views.home, name="settings_home"), path("<slug:group>/", views.page, name="settings")]
