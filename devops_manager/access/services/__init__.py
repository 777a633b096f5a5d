"""What people may do about their tokens and sessions: each function one transaction, audited."""

from devops_manager.access.services.sessions import sign_in, sign_out
from devops_manager.access.services.tokens import (
    create_token,
    revoke_token,
    revoke_tokens_of,
)

__all__ = ["create_token", "revoke_token", "revoke_tokens_of", "sign_in", "sign_out"]
