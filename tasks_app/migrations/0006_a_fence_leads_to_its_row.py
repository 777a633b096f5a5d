"""Fences have their row's key in them (``queue/fences.py``), and need no index."""

from django.db import migrations, models

IN_FLIGHT = "SELECT count(*) FROM commands_hosts WHERE fence IS NOT NULL AND finished_at IS NULL"


def refuse_amid_work(_apps, schema_editor):
    """Stop while hosts have commands under fences of the old kind: nobody would find their rows."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(IN_FLIGHT)
        (count,) = cursor.fetchone()
    if count:
        raise RuntimeError(
            f"{count} commands are delivered or running, and their results would not be taken after"
            " this upgrade: let them end, or cancel their tasks, and migrate again"
        )


class Migration(migrations.Migration):
    """Takes the index of fences away."""

    dependencies = [("tasks_app", "0005_less_to_write_for_each_move")]
    operations = [
        migrations.RunPython(refuse_amid_work, migrations.RunPython.noop),
        migrations.AlterField(
            "commandhost",
            "fence",
            models.UUIDField(null=True, verbose_name="fence"),
        ),
    ]
