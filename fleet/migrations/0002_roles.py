"""The three roles, as groups: viewer, operator, administrator.

A later migration that adds a permission gives it to its roles too. Who changes the groups by hand keeps them.
"""

from django.contrib.auth.management import create_permissions
from django.db import migrations

VIEWER = [
    "view_host",
    "view_instance",
    "view_origin",
    "view_provider",
    "view_reasonrule",
]
OPERATOR = [
    *VIEWER,
    "poll_host",
    "examine_host",
    "change_instance",
    "add_origin",
    "change_origin",
    "delete_origin",
    "add_provider",
    "change_provider",
    "add_reasonrule",
    "change_reasonrule",
    "delete_reasonrule",
    "view_operation",
    "run_queue",
    "reload_instance",
    "view_auditevent",
]
ADMINISTRATOR = [*OPERATOR, "add_host", "change_host", "delete_host", "export_audit"]
ROLES = {"viewer": VIEWER, "operator": OPERATOR, "administrator": ADMINISTRATOR}


def make_roles(apps, schema_editor):
    # Django makes permissions after the last migration only.
    relays = apps.get_app_config("relays")
    relays.models_module = True
    create_permissions(relays, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    relays.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in ROLES.items():
        permissions = Permission.objects.filter(content_type__app_label="relays", codename__in=codenames)
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0001_initial"),
        ("relays", "0010_host_permissions"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop)]
