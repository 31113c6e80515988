"""Doors to the destinations."""

from __future__ import annotations

from django.urls import path

from destinations import views

app_name = "destinations"
urlpatterns = [
    path("", views.destination_list, name="destination_list"),
    path("new/", views.destination_create, name="destination_create"),
    path("<int:number>/", views.destination_update, name="destination_update"),
    path("<int:number>/test/", views.destination_test, name="destination_test"),
]
