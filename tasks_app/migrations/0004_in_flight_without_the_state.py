"""What is in flight, said without the state: see the index's comment in the model."""

from django.db import migrations, models

from devops_manager.lib.indexes import PostgresIndex


class Migration(migrations.Migration):
    """Makes the index of what a host has in hand anew."""

    dependencies = [("tasks_app", "0003_plans_for_large_tasks")]
    operations = [
        migrations.RemoveIndex(model_name="commandhost", name="idx_command_hosts_in_flight"),
        migrations.AddIndex(
            model_name="commandhost",
            index=PostgresIndex(
                condition=models.Q(("fence__isnull", False), ("finished_at__isnull", True)),
                fields=["host"],
                name="idx_command_hosts_in_flight",
            ),
        ),
    ]
