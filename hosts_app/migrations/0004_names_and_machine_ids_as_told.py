"""What hosts were called is what they called themselves; machine ids that say nothing are none."""

from django.db import migrations

# As hosts_app/machine_ids.py judges them: those that an image or a board without one has.
FORWARDS = r"""
UPDATE hosts SET reported_hostname = hostname WHERE reported_hostname = '';
UPDATE hosts SET machine_id = ''
WHERE regexp_replace(lower(machine_id), '[^0-9a-z]', '', 'g') ~ '^(.?)\1*$'
   OR regexp_replace(lower(machine_id), '[^0-9a-z]', '', 'g') IN (
       'uninitialized', 'none', 'null', 'unknown',
       '03000200040005000006000700080009', '00020003000400050006000700080009'
   );
"""


class Migration(migrations.Migration):
    """Rewrites the rows in question."""

    dependencies = [("hosts_app", "0003_hosts_are_renamed_and_retired")]
    operations = [migrations.RunSQL(FORWARDS, migrations.RunSQL.noop)]
