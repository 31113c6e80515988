"""Doors to people and accounts."""

from __future__ import annotations

from django.urls import path

from panel.accounts.views import choosing, hosting, mail, mine, people, plans, signing, tokens

app_name = "accounts"
urlpatterns = [
    path("sign-in/", signing.sign_in, name="sign_in"),
    path("sign-in/code/", signing.sign_in_code, name="sign_in_code"),
    path("sign-out/", signing.sign_out, name="sign_out"),
    path("password/forgot/", signing.password_forgot, name="password_forgot"),
    path("welcome/<slug:secret>/", signing.welcome, name="welcome"),
    path("sso/<slug:secret>/", signing.sso, name="sso"),
    path("acting/stop/", signing.acting_stop, name="acting_stop"),
    path("me/", mine.mine, name="mine"),
    path("me/sessions/end/", mine.session_end, name="session_end"),
    path("me/sessions/<slug:mark>/end/", mine.session_end_one, name="session_end_one"),
    path("me/two-factor/", mine.two_factor, name="two_factor"),
    path("me/two-factor/off/", mine.two_factor_off, name="two_factor_off"),
    path("tokens/", tokens.token_list, name="token_list"),
    path("tokens/new/", tokens.token_create, name="token_create"),
    path("tokens/<int:number>/", tokens.token_update, name="token_update"),
    path("tokens/<int:number>/delete/", tokens.token_delete, name="token_delete"),
    path("users/", people.user_list, name="user_list"),
    path("users/new/", people.user_create, name="user_create"),
    path("users/<int:number>/", people.user_detail, name="user_detail"),
    path("users/<int:number>/disable/", people.user_disable, name="user_disable"),
    path("users/<int:number>/enable/", people.user_enable, name="user_enable"),
    path("users/<int:number>/link/", people.user_link, name="user_link"),
    path("users/<int:number>/sessions/end/", people.user_sessions_end, name="user_sessions_end"),
    path("users/<int:number>/two-factor/off/", people.user_two_factor_off, name="user_two_factor_off"),
    path("users/<int:number>/act/", people.user_act, name="user_act"),
    path("accounts/", hosting.account_list, name="account_list"),
    path("accounts/new/", hosting.account_create, name="account_create"),
    path("accounts/refresh/", hosting.accounts_refresh, name="accounts_refresh"),
    path("accounts/orphans/", hosting.orphan_list, name="orphan_list"),
    path("accounts/<int:number>/", hosting.account_detail, name="account_detail"),
    path("accounts/<int:number>/edit/", hosting.account_update, name="account_update"),
    path("accounts/<int:number>/suspend/", hosting.account_suspend, name="account_suspend"),
    path("accounts/<int:number>/resume/", hosting.account_resume, name="account_resume"),
    path("accounts/<int:number>/terminate/", hosting.account_terminate, name="account_terminate"),
    path("accounts/<int:number>/reassign/", hosting.orphan_reassign, name="orphan_reassign"),
    path("packages/", plans.package_list, name="package_list"),
    path("packages/new/", plans.package_create, name="package_create"),
    path("packages/<int:number>/", plans.package_update, name="package_update"),
    path("packages/<int:number>/delete/", plans.package_delete, name="package_delete"),
    path("priorities/", plans.priority_list, name="priority_list"),
    path("priorities/new/", plans.priority_create, name="priority_create"),
    path("priorities/<int:number>/", plans.priority_update, name="priority_update"),
    path("priorities/<int:number>/default/", plans.priority_default, name="priority_default"),
    path("priorities/<int:number>/delete/", plans.priority_delete, name="priority_delete"),
    path("choices/", choosing.offer_list, name="offers"),
    path("mail/", mail.mail_log, name="mail_log"),
    path("mail/test/", mail.mail_test, name="mail_test"),
]
