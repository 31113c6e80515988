"""Doors to restores and downloads."""

from __future__ import annotations

from django.urls import path

from restores.views import basket, downloads, restore

app_name = "restores"
urlpatterns = [
    path("restore/", restore.wizard, name="wizard"),
    path("snapshots/<int:number>/restore/", restore.restore_new, name="restore_new"),
    path("restores/new/", restore.restore_basket, name="restore_basket"),
    path("restores/basket/", basket.basket, name="basket"),
    path("restores/basket/add/", basket.basket_add, name="basket_add"),
    path("restores/basket/remove/", basket.basket_remove, name="basket_remove"),
    path("restores/<int:number>/undo/", restore.restore_back, name="restore_undo"),
    path("downloads/", downloads.download_list, name="download_list"),
    path("downloads/<int:number>/file/", downloads.download_file, name="download_file"),
    path("downloads/<int:number>/remove/", downloads.download_delete, name="download_remove"),
]
