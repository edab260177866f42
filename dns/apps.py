from pathlib import Path

from django.apps import AppConfig


class DnsConfig(AppConfig):
    name = "dns"
    # Given, because Django refuses to guess for a package that lives in two folders.
    path = str(Path(__file__).resolve().parent)
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the operations on a relay name known, and what other pages show of relay names and ramps."""
        from dns.selectors import ramps
        from dns.selectors.instances import instance_panel, out_of_dns_actions
        from dns.selectors.origins import origin_panel
        from dns.services.weights import KINDS
        from relays.selectors import beside, panels
        from relays.services import kinds

        beside.register(facts=ramps.facts, lines=ramps.abnormal, address_page=ramps.address_page)

        for kind in KINDS:
            kinds.register(kind())
        panels.register_origin_panel(origin_panel)
        panels.register_instance_panel(instance_panel)
        panels.register_row_action(out_of_dns_actions)
