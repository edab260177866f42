"""Who may act on single messages, and see whose they are: operators and administrators."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

OPERATOR = ["act_on_messages", "remove_messages", "see_addresses", "read_headers"]


def give(apps, schema_editor):
    # Django makes permissions after the last migration only.
    relays = apps.get_app_config("relays")
    relays.models_module = True
    create_permissions(relays, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    relays.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    permissions = Permission.objects.filter(content_type__app_label="relays", codename__in=OPERATOR)
    for name in ("operator", "administrator"):
        group = Group.objects.filter(name=name).first()
        if group is not None:
            group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0005_broker_heartbeat"),
        ("relays", "0013_messages"),
    ]

    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
