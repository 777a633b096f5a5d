"""A token says whether it may manage tokens, and which token made it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("access", "0003_idempotency_without_claims")]

    operations = [
        migrations.AddField(
            "apitoken",
            "manages_tokens",
            models.BooleanField(
                default=False,
                help_text="Scripts that have it may make, list and revoke tokens.",
                verbose_name="manages tokens",
            ),
        ),
        migrations.AddField(
            "apitoken",
            "parent",
            models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="made",
                to="access.apitoken",
                verbose_name="made with",
            ),
        ),
    ]
