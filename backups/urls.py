"""Doors to the backups."""

from __future__ import annotations

from django.urls import path

from backups.views import history, keys, schedules, snapshots

app_name = "backups"
urlpatterns = [
    path("backups/schedules/", schedules.schedule_list, name="schedule_list"),
    path("backups/schedules/new/", schedules.schedule_create, name="schedule_create"),
    path("backups/schedules/preview/", schedules.timing_preview, name="timing_preview"),
    path("backups/schedules/run/", schedules.schedule_run_all, name="schedule_run_all"),
    path("backups/schedules/<int:number>/edit/", schedules.schedule_update, name="schedule_update"),
    path("backups/schedules/<int:number>/run/", schedules.schedule_run, name="schedule_run"),
    path("backups/schedules/<int:number>/toggle/", schedules.schedule_toggle, name="schedule_toggle"),
    path("backups/schedules/<int:number>/delete/", schedules.schedule_delete, name="schedule_delete"),
    path("backups/schedules/<int:number>/undo/", schedules.schedule_undelete, name="schedule_undelete"),
    path("backups/schedules/<int:number>/key/", keys.schedule_key, name="schedule_key"),
    path("backups/schedules/<int:number>/key/rotate/", keys.schedule_key_rotate, name="schedule_key_rotate"),
    path("backups/schedules/<int:number>/key/try/", keys.schedule_key_try, name="schedule_key_try"),
    path("backups/schedules/<int:number>/key/use/", keys.schedule_key_use, name="schedule_key_use"),
    path("backups/history/", history.history, name="history"),
    path("backups/history/clear/", history.history_clear, name="history_clear"),
    path("backups/restore/", snapshots.snapshot_list, name="snapshot_list"),
    path("snapshots/<int:number>/browse/", snapshots.snapshot_browse, name="snapshot_browse"),
    path("snapshots/<int:number>/versions/", snapshots.file_versions, name="file_versions"),
    path("snapshots/<int:number>/preview/", snapshots.file_preview, name="file_preview"),
    path("snapshots/<int:number>/picture/", snapshots.file_picture, name="file_picture"),
]
