"""What may be done to hosts: each function one transaction, with its audit events in it."""

from hosts_app.services.heartbeats import Heartbeat, Load, record_heartbeats, sweep_offline_hosts

__all__ = ["Heartbeat", "Load", "record_heartbeats", "sweep_offline_hosts"]
