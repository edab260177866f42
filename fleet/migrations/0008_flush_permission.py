"""Operators may move mail to another instance."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def allow_flush(apps, schema_editor):
    relays = apps.get_app_config("relays")
    relays.models_module = True
    create_permissions(relays, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    relays.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    flush = Permission.objects.get(content_type__app_label="relays", codename="flush")
    for group in Group.objects.filter(name__in=("operator", "administrator")):
        group.permissions.add(flush)


class Migration(migrations.Migration):
    dependencies = [("fleet", "0007_sign_on_identity"), ("relays", "0014_flushes")]

    operations = [migrations.RunPython(allow_flush, migrations.RunPython.noop)]
