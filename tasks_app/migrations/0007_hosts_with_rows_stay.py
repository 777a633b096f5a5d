"""A trigger keeps hosts that tasks are for, in place of a reference checked for each row.

The reference locked the host's row for each row that a fan-out made, amid the polls that lock the
same ones: a third of what making a row cost, a tenth of the whole way of a command. Rows are made
for targets that were frozen under the admission lock, and hosts are all but never deleted, so the
deletion is what looks: first that nobody is freezing targets, then for rows and open windows. It
has to see what was committed while it waited, and so is refused under other isolation levels.
"""

import django.db.models.deletion
from django.db import migrations, models

# 1684865025 is tasks_app.services.admission's lock, the first of the lock order; taken before the
# host itself is locked.
FORWARDS = """
CREATE FUNCTION hosts_wait_for_admission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'hosts can be deleted under READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    PERFORM pg_advisory_xact_lock(1684865025);
    RETURN NULL;
END
$$;
CREATE TRIGGER hosts_wait_for_admission BEFORE DELETE ON hosts
    FOR EACH STATEMENT EXECUTE FUNCTION hosts_wait_for_admission();

CREATE FUNCTION hosts_with_rows_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM commands_hosts WHERE host_id = OLD.id)
        OR EXISTS (SELECT FROM task_windows WHERE NOT done AND OLD.id = ANY (host_ids))
    THEN
        RAISE EXCEPTION 'host % has commands and cannot be deleted', OLD.id
            USING ERRCODE = 'foreign_key_violation', TABLE = 'hosts';
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER hosts_with_rows_stay BEFORE DELETE ON hosts
    FOR EACH ROW EXECUTE FUNCTION hosts_with_rows_stay();
"""

BACKWARDS = """
DROP TRIGGER hosts_with_rows_stay ON hosts;
DROP FUNCTION hosts_with_rows_stay();
DROP TRIGGER hosts_wait_for_admission ON hosts;
DROP FUNCTION hosts_wait_for_admission();
"""


class Migration(migrations.Migration):
    """Adds the triggers, then drops the constraint."""

    dependencies = [
        ("hosts_app", "0002_heartbeats_stay_hot"),
        ("tasks_app", "0006_a_fence_leads_to_its_row"),
    ]
    operations = [
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.AlterField(
            model_name="commandhost",
            name="host",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="rows",
                to="hosts_app.host",
                verbose_name="host",
            ),
        ),
    ]
