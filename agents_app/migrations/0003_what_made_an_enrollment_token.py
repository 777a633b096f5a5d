"""An enrollment token ends with the API token that made it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0004_tokens_that_make_tokens"),
        ("agents_app", "0002_credential_remembers_its_token"),
    ]

    operations = [
        migrations.AddField(
            "enrollmenttoken",
            "made_with",
            models.ForeignKey(
                editable=False,
                help_text="Ends with this API token.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="access.apitoken",
                verbose_name="made with",
            ),
        ),
    ]
