"""Doors to people and accounts."""

from __future__ import annotations

from django.urls import path

from panel.accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.sign_in, name="sign_in"),
    path("sign-out/", views.sign_out, name="sign_out"),
    path("me/", views.mine, name="mine"),
    path("me/sessions/end/", views.session_end, name="session_end"),
    path("accounts/", views.account_list, name="account_list"),
    path("accounts/<int:number>/", views.account_detail, name="account_detail"),
]
