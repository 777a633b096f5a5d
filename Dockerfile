# One image; the command decides which process it is (see docker-compose.yml).
FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/venv
# What changes rarely first: the dependencies stay cached while the code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY devops_manager/__init__.py devops_manager/__init__.py
RUN /opt/venv/bin/pip install -c constraints.txt -e .
COPY . .
RUN /opt/venv/bin/pip install --no-deps -c constraints.txt -e . \
    && /opt/venv/bin/python -m agents_app.agent_build \
    && /opt/venv/bin/python -m compileall -q devops_manager hosts_app tasks_app agents_app
# Needs settings, but neither a database nor a secret that anything goes on using.
RUN DM_SECRET_KEY="$(/opt/venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
    DM_STATIC_ROOT=/app/staticfiles \
    /opt/venv/bin/python manage.py collectstatic --noinput --ignore redoc --verbosity 0

FROM python:3.11-slim

RUN groupadd --system --gid 10001 dm \
    && useradd --system --uid 10001 --gid dm --home-dir /app --no-create-home dm \
    && install -d -o dm -g dm /data /agent /enrolment /gateway
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=devops_manager.settings \
    DM_STATIC_ROOT=/app/staticfiles
WORKDIR /app
USER dm
EXPOSE 8080 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "deploy/healthcheck.py", "http://127.0.0.1:8080/healthz"]
CMD ["gunicorn", "--no-control-socket", "--bind", "0.0.0.0:8080", \
     "-k", "devops_manager.web_server.worker.WebWorker", "--keep-alive", "75", \
     "--workers", "1", "--threads", "16", "devops_manager.wsgi:application"]
