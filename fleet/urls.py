"""Addresses of all pages."""

from django.urls import URLPattern, URLResolver, include, path

from fleet.views.accounts import LogIn, LogOut, PasswordChange
from fleet.views.factors import (
    account,
    log_in_code,
    reauthenticate,
    recovery_codes,
    second_factor_begin,
    second_factor_off,
    second_factor_page,
    session_end,
    token_add,
    token_remove,
)
from fleet.views.health import healthz, readyz
from fleet.views.matrix import instances_table, matrix
from fleet.views.relayctl import relayctl
from fleet.views.search import search
from fleet.views.single_sign_on import sign_on, sign_on_done

handler403 = "fleet.views.denials.denied"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", matrix, name="matrix"),
    path("tables/matrix/", instances_table, name="matrix-table"),
    path("search/", search, name="search"),
    path("relayctl.pyz", relayctl, name="relayctl"),
    path("login/", LogIn.as_view(), name="login"),
    path("login/code/", log_in_code, name="login-code"),
    path("login/sign-on/", sign_on, name="sign-on"),
    path("login/sign-on/done/", sign_on_done, name="sign-on-done"),
    path("logout/", LogOut.as_view(), name="logout"),
    path("password/", PasswordChange.as_view(), name="password"),
    path("reauthenticate/", reauthenticate, name="reauthenticate"),
    path("account/", account, name="account"),
    path("account/second-factor/", second_factor_page, name="second-factor"),
    path("account/second-factor/begin/", second_factor_begin, name="second-factor-begin"),
    path("account/second-factor/off/", second_factor_off, name="second-factor-off"),
    path("account/recovery-codes/", recovery_codes, name="recovery-codes"),
    path("account/sessions/end/", session_end, name="session-end"),
    path("account/tokens/add/", token_add, name="token-add"),
    path("account/tokens/<int:pk>/remove/", token_remove, name="token-remove"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("", include("relays.urls")),
    path("", include("dns.urls")),
]
