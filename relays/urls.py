"""Addresses of the pages over hosts, instances, origins and providers."""

from django.urls import path

from relays.views import domains, hosts, instances, origins, providers, reasons

app_name = "relays"
urlpatterns = [
    path("hosts/", hosts.host_list, name="host-list"),
    path("add-host/", hosts.host_add, name="host-add"),
    path("hosts/<slug:name>/", hosts.host_detail, name="host"),
    path("hosts/<slug:name>/doctor/", hosts.host_doctor, name="host-doctor"),
    path("hosts/<slug:name>/poll/", hosts.host_poll, name="host-poll"),
    path("hosts/<slug:name>/key/", hosts.host_key, name="host-key"),
    path("hosts/<slug:name>/change/", hosts.host_change, name="host-change"),
    path("hosts/<slug:name>/switch/", hosts.host_switch, name="host-switch"),
    path("hosts/<slug:name>/remove/", hosts.host_remove, name="host-remove"),
    path("instances/<int:pk>/", instances.instance_detail, name="instance"),
    path("instances/<int:pk>/match/", instances.instance_match, name="instance-match"),
    path("instances/<int:pk>/counts.json", instances.counts_chart, name="instance-counts"),
    path("instances/<int:pk>/ages.json", instances.ages_chart, name="instance-ages"),
    path("instances/<int:pk>/outcomes.json", instances.instance_chart, name="instance-chart"),
    path("instances/<int:pk>/tables/<slug:table>/", instances.instance_table, name="instance-table"),
    path("origins/", origins.origin_list, name="origin-list"),
    path("add-origin/", origins.origin_add, name="origin-add"),
    path("origins/<int:pk>/", origins.origin_detail, name="origin"),
    path("origins/<int:pk>/change/", origins.origin_change, name="origin-change"),
    path("origins/<int:pk>/remove/", origins.origin_remove, name="origin-remove"),
    path("clients/<int:pk>/adopt/", origins.client_adopt, name="client-adopt"),
    path("domains/<int:pk>/provider/", domains.domain_provider, name="domain-provider"),
    path("providers/", providers.provider_list, name="provider-list"),
    path("add-provider/", providers.provider_add, name="provider-add"),
    path("providers/<slug:slug>/", providers.provider_detail, name="provider"),
    path("providers/<slug:slug>/outcomes.json", providers.provider_chart, name="provider-chart"),
    path("providers/<slug:slug>/tables/<slug:table>/", providers.provider_table, name="provider-table"),
    path("providers/<slug:slug>/change/", providers.provider_change, name="provider-change"),
    path("reasons/", reasons.reason_list, name="reason-list"),
    path("reasons/<slug:slug>/", reasons.reason_detail, name="reason"),
    path("reason-rules/", reasons.rule_list, name="reason-rules"),
    path("add-reason-rule/", reasons.rule_add, name="reason-rule-add"),
    path("reason-rules/<slug:slug>/change/", reasons.rule_change, name="reason-rule-change"),
    path("reason-rules/<slug:slug>/remove/", reasons.rule_remove_page, name="reason-rule-remove"),
]
