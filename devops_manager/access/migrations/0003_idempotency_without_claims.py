"""A key is stored with its answer; while its request is at work a lock is held instead of a row."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Forgets requests that were at work, or died, and stores an answer's Location."""

    dependencies = [("access", "0002_audit_is_append_only")]
    operations = [
        migrations.RunSQL(
            "DELETE FROM idempotency_keys WHERE response_status IS NULL", migrations.RunSQL.noop
        ),
        migrations.AlterField("idempotencykey", "response_status", models.SmallIntegerField()),
        migrations.AddField(
            "idempotencykey",
            "response_location",
            models.CharField(max_length=200, blank=True, default=""),
        ),
    ]
