"""Frozen targets know which hosts are there only for steps that are pinned to them."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the columns; those who stand in the tables already get what they meant so far."""

    dependencies = [
        ("tasks_app", "0007_hosts_with_rows_stay"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="pinned_only_hosts",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Of these, hosts that run only what is pinned to them.",
            ),
        ),
        migrations.AddField(
            model_name="taskwindow",
            name="pinned_ids",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                db_default=models.Value(
                    [],
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                default=list,
                size=None,
            ),
        ),
    ]
