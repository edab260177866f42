from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "fleet"

    def ready(self) -> None:
        """Make the Celery application, and connect what listens to it and to log-ins."""
        from django.contrib.auth.signals import user_logged_in

        # shared_task binds to this app, so it must exist as soon as Django does; but what has no Django
        # (the rehearsal fleet, the supervisor) starts in a fifth of the time without it.
        from fleet import accounts, celery, heartbeats, sessions  # noqa: F401

        heartbeats.connect()
        user_logged_in.connect(accounts.remember_one_time_password)
        user_logged_in.connect(sessions.remember)
