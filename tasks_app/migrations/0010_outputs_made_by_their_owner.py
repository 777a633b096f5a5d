"""A function makes the days of command_outputs, with the rights of who owns the table.

The processes' own role may not own tables (docs/deploy.md), and a partition is made by its table's
owner only. What the function makes is decided here: one day, of the years around now.
"""

from django.db import migrations

FORWARDS = """
CREATE FUNCTION make_output_partition(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    name text := 'command_outputs_' || to_char(day, 'YYYYMMDD');
    first timestamptz := day::timestamp AT TIME ZONE 'UTC';
    after timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF day IS NULL OR abs(day - current_date) > 366 THEN
        RAISE EXCEPTION 'no outputs are to be expected on %', day USING ERRCODE = 'check_violation';
    END IF;
    -- One at a time: IF NOT EXISTS is no protection against another who makes the same.
    PERFORM pg_advisory_xact_lock(1684865026);
    -- A day whose outputs are in the default partition already stays there.
    IF to_regclass(name) IS NOT NULL OR EXISTS (
        SELECT FROM command_outputs_default WHERE created_at >= first AND created_at < after
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I PARTITION OF command_outputs FOR VALUES FROM (%L) TO (%L)',
        name, first, after
    );
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION make_output_partition(date) FROM PUBLIC;
-- Nothing that a caller made is found in the place of what is meant.
DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION make_output_partition(date) SET search_path = %I, pg_temp',
        current_schema()
    );
END
$$;
"""

BACKWARDS = "DROP FUNCTION make_output_partition(date);"


class Migration(migrations.Migration):
    """Adds the function."""

    dependencies = [("tasks_app", "0009_hosts_left_out")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
