"""The WSGI application: pages, admin and API, served by ``web_server`` on port 8080."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devops_manager.settings")

application = get_wsgi_application()
