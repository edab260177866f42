"""One word for one thing: the state `deferring` is called `slow`."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("relays", "0003_outcomes")]

    operations = [
        migrations.RunSQL(
            "UPDATE relays_instancestate SET state = 'slow' WHERE state = 'deferring'",
            "UPDATE relays_instancestate SET state = 'deferring' WHERE state = 'slow'",
        )
    ]
