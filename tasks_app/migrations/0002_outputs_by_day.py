"""command_outputs, range-partitioned by day; the default partition catches what no day was made for."""

from django.db import migrations

FORWARDS = """
CREATE TABLE command_outputs (
    command_host_id bigint NOT NULL,
    attempt integer NOT NULL,
    created_at timestamptz NOT NULL,
    stdout_head bytea NOT NULL,
    stdout_tail bytea NOT NULL,
    stdout_dropped_bytes bigint NOT NULL CHECK (stdout_dropped_bytes >= 0),
    stderr_head bytea NOT NULL,
    stderr_tail bytea NOT NULL,
    stderr_dropped_bytes bigint NOT NULL CHECK (stderr_dropped_bytes >= 0),
    PRIMARY KEY (command_host_id, attempt, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE command_outputs_default PARTITION OF command_outputs DEFAULT;
ALTER TABLE commands_hosts SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE commands SET (fillfactor = 70);
ALTER TABLE tasks SET (fillfactor = 80);
"""

BACKWARDS = """
DROP TABLE command_outputs;
ALTER TABLE commands_hosts RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE commands RESET (fillfactor);
ALTER TABLE tasks RESET (fillfactor);
"""


class Migration(migrations.Migration):
    """Adds the partitioned table; days are added ahead by the sweep."""

    dependencies = [("tasks_app", "0001_initial")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
