"""Doors to restores and downloads."""

from __future__ import annotations

from django.urls import path

from restores.views import basket, downloads, restore, rules

app_name = "restores"
urlpatterns = [
    path("restore/", restore.wizard, name="wizard"),
    path("snapshots/<int:number>/restore/", restore.restore_new, name="restore_new"),
    path("restores/new/", restore.restore_basket, name="restore_basket"),
    path("restores/basket/", basket.basket, name="basket"),
    path("restores/basket/add/", basket.basket_add, name="basket_add"),
    path("restores/basket/remove/", basket.basket_remove, name="basket_remove"),
    path("restores/<int:number>/undo/", restore.restore_back, name="restore_undo"),
    path("settings/restore/conditions/", rules.condition_list, name="condition_list"),
    path("settings/restore/conditions/new/", rules.condition_form, name="condition_create"),
    path("settings/restore/conditions/<int:number>/", rules.condition_form, name="condition_update"),
    path("settings/restore/conditions/<int:number>/delete/", rules.condition_remove, name="condition_delete"),
    path("settings/restore/permissions/", rules.permission_list, name="permission_list"),
    path("settings/restore/permissions/new/", rules.permission_form, name="permission_create"),
    path("settings/restore/permissions/<int:number>/", rules.permission_form, name="permission_update"),
    path("settings/restore/permissions/<int:number>/delete/", rules.permission_remove, name="permission_delete"),
    path("downloads/", downloads.download_list, name="download_list"),
    path("downloads/<int:number>/file/", downloads.download_file, name="download_file"),
    path("downloads/<int:number>/remove/", downloads.download_delete, name="download_remove"),
]
