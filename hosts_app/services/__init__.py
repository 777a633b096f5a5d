"""What may be done to hosts: each function one transaction, with its audit events in it."""

from hosts_app.services.approval import approve_hosts, reject_hosts
from hosts_app.services.changes import (
    disable_host,
    enable_host,
    release_quarantine,
    revoke_credential,
    update_host,
)
from hosts_app.services.descriptions import Description, record_descriptions
from hosts_app.services.groups import (
    add_hosts,
    create_group,
    delete_group,
    grant_group,
    remove_hosts,
    revoke_grant,
    update_group,
)
from hosts_app.services.heartbeats import Heartbeat, Load, record_heartbeats, sweep_offline_hosts
from hosts_app.services.quarantine import quarantine_host
from hosts_app.services.retirement import replace_host, retire_host, unretire_host

__all__ = [
    "Description",
    "Heartbeat",
    "Load",
    "add_hosts",
    "approve_hosts",
    "create_group",
    "delete_group",
    "disable_host",
    "enable_host",
    "grant_group",
    "quarantine_host",
    "record_descriptions",
    "record_heartbeats",
    "reject_hosts",
    "release_quarantine",
    "remove_hosts",
    "replace_host",
    "retire_host",
    "revoke_credential",
    "revoke_grant",
    "sweep_offline_hosts",
    "unretire_host",
    "update_group",
    "update_host",
]
