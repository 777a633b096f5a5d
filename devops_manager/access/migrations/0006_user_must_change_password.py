"""A password that somebody else set or saw is good for one thing: setting another."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the mark; nobody who is there already has it."""

    dependencies = [("access", "0005_audit_counts")]
    operations = [
        migrations.AddField(
            "user",
            "must_change_password",
            models.BooleanField(
                "must change the password",
                default=False,
                help_text="Somebody else knows it: sessions may do nothing else before it is "
                "changed.",
            ),
        ),
    ]
