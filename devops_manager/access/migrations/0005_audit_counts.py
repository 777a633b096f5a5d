"""Events that strangers cause are counted beyond a few a minute."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("access", "0004_tokens_that_make_tokens")]

    operations = [
        migrations.CreateModel(
            "AuditCount",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("action", models.CharField(max_length=64)),
                ("source", models.CharField(max_length=64)),
                ("actor_kind", models.CharField(max_length=8)),
                ("actor", models.CharField(max_length=200)),
                ("source_ip", models.GenericIPAddressField(null=True)),
                ("since", models.DateTimeField()),
                ("events", models.PositiveIntegerField()),
            ],
            {
                "db_table": "audit_counts",
                "verbose_name": "audit count",
                "verbose_name_plural": "audit counts",
            },
        ),
        migrations.AddConstraint(
            "auditcount",
            models.UniqueConstraint(
                fields=["action", "source"], name="uniq_audit_counts_action_source"
            ),
        ),
    ]
