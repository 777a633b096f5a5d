"""The gateway: the bare ASGI application that agents talk to."""
