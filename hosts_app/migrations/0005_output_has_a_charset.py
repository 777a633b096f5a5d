"""A host says in which charset its output is read unless somebody chooses another."""

from django.db import migrations, models

CHARSETS = (
    "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "latin-1", "windows-1252", "windows-1251",
    "koi8-r",
)  # fmt: skip


class Migration(migrations.Migration):
    """Adds the column with a default of the database: no row is written."""

    dependencies = [("hosts_app", "0004_names_and_machine_ids_as_told")]
    operations = [
        migrations.AddField(
            model_name="host",
            name="output_charset",
            field=models.CharField(
                blank=True,
                choices=[(name, name) for name in CHARSETS],
                db_default="",
                default="",
                help_text="In which output is read unless another is chosen. Empty: UTF-8.",
                max_length=16,
                verbose_name="charset of output",
            ),
        ),
    ]
