from pathlib import Path

from django.apps import AppConfig


class DnsConfig(AppConfig):
    name = "dns"
    # Given, because Django refuses to guess for a package that lives in two folders.
    path = str(Path(__file__).resolve().parent)
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the operations on a relay name known, and what an origin's page shows of relay names."""
        from dns.selectors.origins import origin_panel
        from dns.services.weights import KINDS
        from relays.selectors.panels import register_origin_panel
        from relays.services import kinds

        for kind in KINDS:
            kinds.register(kind())
        register_origin_panel(origin_panel)
