from django.apps import AppConfig


class RelaysConfig(AppConfig):
    name = "relays"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the operations on a relay known; dns adds its own."""
        from relays.services import kinds, message_actions
        from relays.services.flushes import FlushKind, RedirectClear
        from relays.services.queue_actions import InstanceReload, QueueRun, RateHold, RateRelease

        for kind in (QueueRun(), InstanceReload(), RateHold(), RateRelease(), FlushKind(), RedirectClear()):
            kinds.register(kind)
        for message_kind in message_actions.KINDS:
            kinds.register(message_kind())
