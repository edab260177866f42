"""Who may remove zones."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def give(apps, schema_editor):
    # Django makes permissions after the last migration only.
    dns = apps.get_app_config("dns")
    dns.models_module = True
    create_permissions(dns, apps=apps, using=schema_editor.connection.alias, verbosity=0)
    dns.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    group = Group.objects.filter(name="administrator").first()
    if group is not None:
        given = Permission.objects.filter(content_type__app_label="dns", codename="delete_zone")
        group.permissions.add(*given)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0013_body_permissions"),
        ("dns", "0001_zones"),
    ]

    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
