"""The HTTP API of people, tokens and the audit trail."""
