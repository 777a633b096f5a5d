"""Indexes leave out what nobody looks up by them: see the comments in the model."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models

from devops_manager.lib.indexes import PostgresIndex

_NOT_COMPLETED = models.Q(("status", "completed"), _negated=True)
_WENT_WRONG = models.Q(
    ("status__in", ["pending", "claimed", "running", "completed"]), _negated=True
)


class Migration(migrations.Migration):
    """Makes three indexes anew."""

    dependencies = [("tasks_app", "0004_in_flight_without_the_state")]
    operations = [
        migrations.RemoveIndex("commandhost", "idx_command_hosts_status"),
        migrations.RemoveIndex("commandhost", "idx_command_hosts_created_at"),
        migrations.RemoveIndex("commandhost", "idx_command_hosts_command_status"),
        migrations.AddIndex(
            "commandhost",
            PostgresIndex(
                condition=_WENT_WRONG,
                fields=["status", "id"],
                name="idx_command_hosts_status",
            ),
        ),
        migrations.AddIndex(
            "commandhost",
            BrinIndex(fields=["created_at"], name="idx_command_hosts_created_at"),
        ),
        migrations.AddIndex(
            "commandhost",
            PostgresIndex(
                condition=_NOT_COMPLETED,
                fields=["command", "status"],
                name="idx_command_hosts_command_status",
            ),
        ),
    ]
