"""Rows lose a reference that was checked by reading all of them; steps are planned for as large."""

import django.db.models.deletion
from django.db import migrations, models

# On average a step has few rows, so the planner, with statistics, took it for as good to read a
# step's rows by state as to look one row up by step and host: for a batch of a hundred results of a
# task on 10,000 hosts that is a million rows. Told that each step has a ten-thousandth of all rows,
# it looks them up one by one.
FORWARDS = "ALTER TABLE commands_hosts ALTER COLUMN command_id SET (n_distinct = -0.0001)"
BACKWARDS = "ALTER TABLE commands_hosts ALTER COLUMN command_id RESET (n_distinct)"


class Migration(migrations.Migration):
    """Drops the constraint and sets the column's statistics."""

    dependencies = [("tasks_app", "0002_outputs_by_day")]
    operations = [
        migrations.AlterField(
            model_name="commandhost",
            name="task",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="rows",
                to="tasks_app.task",
                verbose_name="task",
            ),
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
