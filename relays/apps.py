from django.apps import AppConfig


class RelaysConfig(AppConfig):
    name = "relays"
    default_auto_field = "django.db.models.BigAutoField"
