from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "fleet"

    def ready(self) -> None:
        """Connect what listens: Celery's signs of life, and the log-in with a one-time password."""
        from django.contrib.auth.signals import user_logged_in

        from fleet import accounts, heartbeats

        heartbeats.connect()
        user_logged_in.connect(accounts.remember_one_time_password)
