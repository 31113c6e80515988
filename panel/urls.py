"""Where everything is mounted."""

from __future__ import annotations

from django.urls import include, path

from panel.web import views

_panel = (
    [
        path("", views.overview, name="overview"),
        path("system/", views.system, name="system"),
        path("health", views.health, name="health"),
        path("theme/", views.theme, name="theme"),
    ],
    "panel",
)
urlpatterns = [
    path("", include(_panel)),
    path("", include("panel.accounts.urls")),
    path("api/v1/", include("panel.web.api_urls")),
    path("", include("worker.urls")),
    path("", include("backups.urls")),
    path("", include("restores.urls")),
    path("destinations/", include("destinations.urls")),
    path("settings/", include("panel.options.urls")),
    path("audit/", include("panel.audit.urls")),
]
handler400 = "panel.web.errors.bad_request"
handler403 = "panel.web.errors.forbidden"
handler404 = "panel.web.errors.not_found"
handler500 = "panel.web.errors.server_error"
