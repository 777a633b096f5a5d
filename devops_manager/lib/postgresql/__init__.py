"""Django's PostgreSQL, with the metrics of django-prometheus."""
