"""Addresses of the pages over relay names."""

from django.urls import path

from dns.views import relay_names

app_name = "dns"

urlpatterns = [
    path("relay-names/", relay_names.relay_name_list, name="relay-name-list"),
    path("relay-names/<int:pk>/", relay_names.relay_name_detail, name="relay-name"),
    path("relay-names/<int:pk>/plan/<str:kind>/", relay_names.relay_name_plan, name="relay-name-plan"),
]
