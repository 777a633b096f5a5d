"""Everything on one machine, for a first look: what ``make run`` starts, shows and stops.

It starts the servers and the project's own processes with three real agents, runs one real task on
them through the HTTP API, and shows the result. It is a client of the project like any other: it
imports no app and reads no table.
"""
