-- Purpose: marks one window as fanned out.
-- Locks: the window, under the task's lock.
-- Index: task_windows_pkey, idx_task_windows_open.
UPDATE task_windows SET done = true WHERE id = %(window)s AND NOT done
