"""Doors to the destinations."""

from __future__ import annotations

from django.urls import path

from destinations import views

app_name = "destinations"
urlpatterns = [
    path("", views.destination_list, name="destination_list"),
    path("new/", views.destination_create, name="destination_create"),
    path("s3/", views.s3_defaults, name="s3_defaults"),
    path("jobs/<int:number>/", views.job_destinations, name="job_destinations"),
    path("<int:number>/", views.destination_update, name="destination_update"),
    path("<int:number>/test/", views.destination_test, name="destination_test"),
    path("<int:number>/trust/", views.destination_trust, name="destination_trust"),
    path("<int:number>/toggle/", views.destination_toggle, name="destination_toggle"),
    path("<int:number>/remove/", views.destination_remove, name="destination_remove"),
]
