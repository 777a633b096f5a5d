"""Hosts follow their names, can be retired, and say that they drain and how old their figures are."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the columns; those who stand in the tables already get what they meant so far."""

    dependencies = [
        ("hosts_app", "0002_heartbeats_stay_hot"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="host",
            name="hosts_status_known",
        ),
        migrations.AddField(
            model_name="host",
            name="display_name",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=253, verbose_name="display name"
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="reported_hostname",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=253,
                verbose_name="name on the host",
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="retired_at",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="retired at"
            ),
        ),
        migrations.AddField(
            model_name="host",
            name="retired_from",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=16,
                verbose_name="status before it was retired",
            ),
        ),
        migrations.AddField(
            model_name="hostheartbeat",
            name="draining",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="The agent takes no new work.",
                verbose_name="draining",
            ),
        ),
        migrations.AddField(
            model_name="hostheartbeat",
            name="load_at",
            field=models.DateTimeField(
                help_text="When the host told its figures last.",
                null=True,
                verbose_name="figures of",
            ),
        ),
        migrations.AlterField(
            model_name="host",
            name="status",
            field=models.CharField(
                choices=[
                    ("pending", "Pending approval"),
                    ("active", "Active"),
                    ("disabled", "Disabled"),
                    ("retired", "Retired"),
                ],
                default="pending",
                max_length=16,
                verbose_name="status",
            ),
        ),
        migrations.AddConstraint(
            model_name="host",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "active", "disabled", "retired"])),
                name="hosts_status_known",
            ),
        ),
    ]
