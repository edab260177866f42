from pathlib import Path

from django.apps import AppConfig


class DnsConfig(AppConfig):
    name = "dns"
    # Given, because Django refuses to guess for a package that lives in two folders.
    path = str(Path(__file__).resolve().parent)
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the operations on a relay name known, and what there is to say beside instances."""
        from dns.selectors.beside import Dns
        from dns.services.weights import KINDS
        from relays.selectors import beside
        from relays.services import kinds

        beside.register(Dns())
        for kind in KINDS:
            kinds.register(kind())
