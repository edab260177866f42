"""Addresses of all pages."""

from django.urls import URLPattern, URLResolver, path

from fleet.views.health import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
