"""Doors to the work."""

from __future__ import annotations

from django.urls import path

from worker import views

app_name = "worker"
urlpatterns = [
    path("tasks/active/", views.active_tasks, name="active_tasks"),
    path("queue/", views.queue, name="queue"),
    path("backups/history/<int:number>/", views.job_detail, name="job_detail"),
    path("backups/history/<int:number>/log/", views.job_log, name="job_log"),
    path("backups/history/<int:number>/cancel/", views.job_stop, name="job_cancel"),
]
