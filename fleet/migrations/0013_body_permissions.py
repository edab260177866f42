"""Who may read a message's body, and who may allow that for a host."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GIVEN = {"operator": ["read_body"], "administrator": ["read_body", "allow_bodies"]}


def give(apps, schema_editor):
    # Django makes permissions after the last migration only.
    relays = apps.get_app_config("relays")
    relays.models_module = True
    create_permissions(relays, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    relays.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GIVEN.items():
        group = Group.objects.filter(name=name).first()
        if group is not None:
            given = Permission.objects.filter(content_type__app_label="relays", codename__in=codenames)
            group.permissions.add(*given)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0012_heartbeat_since"),
        ("relays", "0023_bodies"),
    ]

    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
