"""Keys that begin with instance and time, for the tables that each poll asks for its last hour; and the totals
that were imported from the operator's old script.

A composite key cannot be altered: the tables are made again. No release has had them, so they are empty.
"""

import django.db.models.deletion
from django.db import migrations, models

# Of each hour and day, the rows of a provider are written by every poll of every host: with room left,
# PostgreSQL keeps a row's new version on its page (HOT).
WRITTEN_AGAIN = ["provideroutcomeshour", "provideroutcomesday", "outcomeshour", "outcomesday"]


def leave_room_on_pages(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in WRITTEN_AGAIN:
            schema_editor.execute(f"ALTER TABLE relays_{table} SET (fillfactor = 50)")


class Migration(migrations.Migration):
    dependencies = [("relays", "0004_deferring_is_slow")]

    operations = [
        migrations.DeleteModel('Accepted'),
        migrations.DeleteModel('Outcomes'),
        migrations.DeleteModel('DomainOutcomesHour'),
        migrations.DeleteModel('DomainOutcomesDay'),
        migrations.DeleteModel('ReplyCountsDay'),
        migrations.DeleteModel('ReplyCountsHour'),
        migrations.CreateModel(
            name='Accepted',
            fields=[
                ('ts', models.PositiveIntegerField()),
                ('messages', models.PositiveIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'client_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('client', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.client')),
            ],
            options={
                'indexes': [models.Index(fields=['ts'], name='accepted_ts')],
            },
        ),
        migrations.CreateModel(
            name='Outcomes',
            fields=[
                ('sent', models.PositiveIntegerField(default=0)),
                ('deferred', models.PositiveIntegerField(default=0)),
                ('suspended', models.PositiveIntegerField(default=0)),
                ('bounced', models.PositiveIntegerField(default=0)),
                ('expired', models.PositiveIntegerField(default=0)),
                ('handed_over', models.PositiveIntegerField(default=0)),
                ('softbounce', models.PositiveIntegerField(default=0)),
                ('delay_00', models.PositiveIntegerField(default=0)),
                ('delay_01', models.PositiveIntegerField(default=0)),
                ('delay_02', models.PositiveIntegerField(default=0)),
                ('delay_03', models.PositiveIntegerField(default=0)),
                ('delay_04', models.PositiveIntegerField(default=0)),
                ('delay_05', models.PositiveIntegerField(default=0)),
                ('delay_06', models.PositiveIntegerField(default=0)),
                ('delay_07', models.PositiveIntegerField(default=0)),
                ('delay_08', models.PositiveIntegerField(default=0)),
                ('delay_09', models.PositiveIntegerField(default=0)),
                ('delay_10', models.PositiveIntegerField(default=0)),
                ('delay_11', models.PositiveIntegerField(default=0)),
                ('delay_12', models.PositiveIntegerField(default=0)),
                ('delay_13', models.PositiveIntegerField(default=0)),
                ('delay_14', models.PositiveIntegerField(default=0)),
                ('delay_15', models.PositiveIntegerField(default=0)),
                ('ts', models.PositiveIntegerField()),
                ('size_bytes', models.PositiveBigIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'provider_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('provider', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.provider')),
            ],
            options={
                'indexes': [models.Index(fields=['ts'], name='outcomes_ts')],
            },
        ),
        migrations.CreateModel(
            name='DomainOutcomesHour',
            fields=[
                ('sent', models.PositiveIntegerField(default=0)),
                ('deferred', models.PositiveIntegerField(default=0)),
                ('suspended', models.PositiveIntegerField(default=0)),
                ('bounced', models.PositiveIntegerField(default=0)),
                ('expired', models.PositiveIntegerField(default=0)),
                ('handed_over', models.PositiveIntegerField(default=0)),
                ('softbounce', models.PositiveIntegerField(default=0)),
                ('ts', models.PositiveIntegerField()),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'domain_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('domain', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.recipientdomain')),
            ],
            options={
                'indexes': [models.Index(fields=['ts'], name='domain_outcomes_hour_ts')],
            },
        ),
        migrations.CreateModel(
            name='DomainOutcomesDay',
            fields=[
                ('sent', models.PositiveIntegerField(default=0)),
                ('deferred', models.PositiveIntegerField(default=0)),
                ('suspended', models.PositiveIntegerField(default=0)),
                ('bounced', models.PositiveIntegerField(default=0)),
                ('expired', models.PositiveIntegerField(default=0)),
                ('handed_over', models.PositiveIntegerField(default=0)),
                ('softbounce', models.PositiveIntegerField(default=0)),
                ('ts', models.PositiveIntegerField()),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'domain_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('domain', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.recipientdomain')),
            ],
            options={
                'indexes': [models.Index(fields=['ts'], name='domain_outcomes_day_ts')],
            },
        ),
        migrations.CreateModel(
            name='ReplyCountsDay',
            fields=[
                ('ts', models.PositiveIntegerField()),
                ('deferred', models.PositiveIntegerField(default=0)),
                ('suspended', models.PositiveIntegerField(default=0)),
                ('bounced', models.PositiveIntegerField(default=0)),
                ('softbounce', models.PositiveIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'provider_id', 'cluster_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('cluster', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.replycluster')),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('provider', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.provider')),
            ],
            options={
                'indexes': [models.Index(fields=['provider', 'ts'], name='reply_counts_day_provider_ts')],
            },
        ),
        migrations.CreateModel(
            name='ReplyCountsHour',
            fields=[
                ('ts', models.PositiveIntegerField()),
                ('deferred', models.PositiveIntegerField(default=0)),
                ('suspended', models.PositiveIntegerField(default=0)),
                ('bounced', models.PositiveIntegerField(default=0)),
                ('softbounce', models.PositiveIntegerField(default=0)),
                ('pk', models.CompositePrimaryKey('instance_id', 'ts', 'provider_id', 'cluster_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('cluster', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.replycluster')),
                ('instance', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.instance')),
                ('provider', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='relays.provider')),
            ],
            options={
                'indexes': [models.Index(fields=['provider', 'ts'], name='reply_counts_hour_provider_ts')],
            },
        ),
        migrations.CreateModel(
            name="ImportedTotals",
            fields=[
                ("pk", models.CompositePrimaryKey("instance_id", "ts", blank=True, editable=False, primary_key=True, serialize=False)),
                ("ts", models.PositiveIntegerField()),
                ("sent", models.PositiveIntegerField(default=0)),
                ("deferred", models.PositiveIntegerField(default=0)),
                ("bounced", models.PositiveIntegerField(default=0)),
                ("instance", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="relays.instance")),
            ],
        ),
        migrations.RunPython(leave_room_on_pages, migrations.RunPython.noop),
    ]
