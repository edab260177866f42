from django.db import migrations


def leave_room_on_pages(apps, schema_editor):
    """Every poll updates every state row: with room left, PostgreSQL keeps the new version on its page (HOT)."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE relays_instancestate SET (fillfactor = 50)")


class Migration(migrations.Migration):
    dependencies = [("relays", "0001_initial")]

    operations = [
        migrations.RemoveField(model_name="sample", name="deferred_max"),
        migrations.RunPython(leave_room_on_pages, migrations.RunPython.noop),
    ]
