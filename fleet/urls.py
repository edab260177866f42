"""Addresses of all pages."""

from django.urls import URLPattern, URLResolver, include, path

from fleet.views.accounts import LogIn, LogOut, PasswordChange
from fleet.views.health import healthz, readyz
from fleet.views.matrix import instances_table, matrix
from fleet.views.relayctl import relayctl
from fleet.views.search import search

handler403 = "fleet.views.denials.denied"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", matrix, name="matrix"),
    path("tables/matrix/", instances_table, name="matrix-table"),
    path("search/", search, name="search"),
    path("relayctl.pyz", relayctl, name="relayctl"),
    path("login/", LogIn.as_view(), name="login"),
    path("logout/", LogOut.as_view(), name="logout"),
    path("password/", PasswordChange.as_view(), name="password"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("", include("relays.urls")),
]
