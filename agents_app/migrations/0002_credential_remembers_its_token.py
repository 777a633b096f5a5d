"""A credential remembers the token that brought its host in."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents_app", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="agentcredential",
            name="enrolled_with",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="agents_app.enrollmenttoken",
                verbose_name="enrolled with",
            ),
        ),
    ]
