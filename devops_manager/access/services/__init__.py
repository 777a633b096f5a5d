"""People, their tokens and sessions: each function one transaction, audited."""

from devops_manager.access.services.people import (
    create_person,
    deactivate_person,
    reactivate_person,
    reset_password,
    update_person,
)
from devops_manager.access.services.sessions import sign_in, sign_out
from devops_manager.access.services.tokens import (
    create_token,
    revoke_token,
    revoke_tokens_of,
)

__all__ = [
    "create_person",
    "create_token",
    "deactivate_person",
    "reactivate_person",
    "reset_password",
    "revoke_token",
    "revoke_tokens_of",
    "sign_in",
    "sign_out",
    "update_person",
]
