"""Addresses of all pages."""

from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.urls import URLPattern, URLResolver, include, path, reverse_lazy

from fleet.views.accounts import LogIn
from fleet.views.health import healthz, readyz
from fleet.views.matrix import instances_table, matrix
from fleet.views.relayctl import relayctl
from fleet.views.search import search

urlpatterns: list[URLPattern | URLResolver] = [
    path("", matrix, name="matrix"),
    path("tables/matrix/", instances_table, name="matrix-table"),
    path("search/", search, name="search"),
    path("relayctl.pyz", relayctl, name="relayctl"),
    path("login/", LogIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path(
        "password/",
        PasswordChangeView.as_view(template_name="fleet/password.html", success_url=reverse_lazy("matrix")),
        name="password",
    ),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("", include("relays.urls")),
]
