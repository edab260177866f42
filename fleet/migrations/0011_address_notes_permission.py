"""Who may write notes about addresses."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GIVEN = {
    "viewer": ["view_addressnote"],
    "operator": ["view_addressnote", "add_addressnote"],
    "administrator": ["view_addressnote", "add_addressnote"],
}


def give(apps, schema_editor):
    # Django makes permissions after the last migration only.
    dns = apps.get_app_config("dns")
    dns.models_module = True
    create_permissions(dns, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    dns.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in GIVEN.items():
        group = Group.objects.filter(name=name).first()
        if group is not None:
            given = Permission.objects.filter(content_type__app_label="dns", codename__in=codenames)
            group.permissions.add(*given)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0010_ramps_permission"),
        ("dns", "0004_address_notes"),
    ]

    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
