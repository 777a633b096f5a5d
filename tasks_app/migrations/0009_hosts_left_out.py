"""A task names the hosts that fell out of it because a grant was revoked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0008_pinned_hosts_run_what_is_pinned")]

    operations = [
        migrations.AddField(
            "task",
            "left_out",
            models.JSONField(editable=False, null=True, verbose_name="left out"),
        ),
    ]
