"""Addresses of the pages over zones and relay names."""

from django.urls import path

from dns.views import addresses, origins, ramps, relay_names, zones

app_name = "dns"

urlpatterns = [
    path("zones/", zones.zone_list, name="zone-list"),
    path("zones/add/", zones.zone_add, name="zone-add"),
    path("zones/<int:pk>/change/", zones.zone_change, name="zone-change"),
    path("zones/<int:pk>/remove/", zones.zone_remove, name="zone-remove"),
    path("zones/<int:pk>/doctor/", zones.zone_doctor, name="zone-doctor"),
    path("origins/<int:pk>/transport.relay", origins.origin_transport, name="origin-transport"),
    path("relay-names/", relay_names.relay_name_list, name="relay-name-list"),
    path("relay-names/<int:pk>/", relay_names.relay_name_detail, name="relay-name"),
    path("relay-names/<int:pk>/shares.json", relay_names.relay_name_chart, name="relay-name-chart"),
    path("relay-names/<int:pk>/preview/", relay_names.relay_name_preview, name="relay-name-preview"),
    path("relay-names/<int:pk>/change/", relay_names.relay_name_change, name="relay-name-change"),
    path("relay-names/<int:pk>/accept/", relay_names.relay_name_accept, name="relay-name-accept"),
    path("relay-names/<int:pk>/plan/<str:kind>/", relay_names.relay_name_plan, name="relay-name-plan"),
    path("addresses/<str:ip>/", addresses.address_detail, name="address"),
    path("addresses/<str:ip>/note/", addresses.address_note, name="address-note"),
    path("ramps/", ramps.ramp_list, name="ramp-list"),
    path("ramps/new/", ramps.ramp_new, name="ramp-new"),
    path("ramps/<int:pk>/", ramps.ramp_detail, name="ramp"),
    path("ramps/<int:pk>/chart/", ramps.ramp_chart, name="ramp-chart"),
    path("ramps/<int:pk>/steer/", ramps.ramp_steer, name="ramp-steer"),
    path("ramps/<int:pk>/edit/", ramps.ramp_edit, name="ramp-edit"),
]
