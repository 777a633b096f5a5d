"""Who sees the values of a task's environment variables, and what the others see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devops_manager.access.models import Role
from hosts_app.selectors import allowed_group_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devops_manager.access.actors import Actor
    from tasks_app.models import Task

# In place of a value. A draft that holds it is refused: it would be stored as the value.
HIDDEN = "***"


def may_see_environment(*, reader: Actor, task: Task) -> bool:
    """Tell whether the reader may see the values: they may be secrets.

    Its creator may, administrators, and operators to whom every group is granted that the task may
    reach: they could run the same on the same hosts.
    """
    if reader.role == Role.ADMIN:
        return True
    if reader.user_id is not None and reader.user_id == task.created_by_id:
        return True
    if reader.role != Role.OPERATOR or not task.allowed_groups:
        return False
    granted = allowed_group_ids(reader)
    return granted is None or set(task.allowed_groups) <= set(granted)


def masked(names: Iterable[str]) -> dict[str, str]:
    """Return an environment as it is shown to those who may not see its values."""
    return dict.fromkeys(names, HIDDEN)
