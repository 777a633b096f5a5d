"""Heartbeats update in place: room on every page, and vacuum before the table grows."""

from django.db import migrations

FORWARDS = """
ALTER TABLE host_heartbeats SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE host_sessions SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
"""

BACKWARDS = """
ALTER TABLE host_heartbeats RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE host_sessions RESET (fillfactor, autovacuum_vacuum_scale_factor);
"""


class Migration(migrations.Migration):
    """Sets the storage parameters."""

    dependencies = [("hosts_app", "0001_initial")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
