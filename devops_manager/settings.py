"""Every setting, read from the environment. The table for operators is docs/settings.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from whitenoise.compress import Compressor

from devops_manager import env
from devops_manager.lib import fault_points

django_stubs_ext.monkeypatch()  # generic Django classes, such as ModelAdmin[Host], at run time

BASE_DIR = Path(__file__).resolve().parent.parent

# --- what kind of process this is -------------------------------------------------------------
DEBUG = env.flag("DM_DEBUG", default=False)
_DEVELOPMENT_KEY = "development-only-key-that-production-refuses-0123456789abcdef"
SECRET_KEY = env.text("DM_SECRET_KEY", _DEVELOPMENT_KEY if DEBUG else None)
ALLOWED_HOSTS = env.words("DM_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("DM_CSRF_TRUSTED_ORIGINS")
# Behind TLS: cookies only over HTTPS, plain requests redirected, HSTS.
DM_TLS = env.flag("DM_TLS", default=False)
# Whose X-Forwarded-For, Forwarded and X-Forwarded-Proto are believed, by web and gateway: nobody's.
DM_TRUSTED_PROXIES = env.proxies("DM_TRUSTED_PROXIES", env.words("DM_TRUSTED_PROXIES"))
# The address that agents and their install script use.
DM_GATEWAY_URL = env.text("DM_GATEWAY_URL", "http://127.0.0.1:50051")

INSTALLED_APPS = [
    "devops_manager",
    "devops_manager.access",
    "hosts_app",
    "tasks_app",
    "agents_app",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_prometheus",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "axes",
]

MIDDLEWARE = [
    "devops_manager.lib.response_policy.ResponsePolicyMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "devops_manager.lib.requests.ClientMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "devops_manager.lib.compression.CompressionMiddleware",
    "devops_manager.lib.requests.RequestIdMiddleware",
    "devops_manager.lib.problem.LengthRequiredMiddleware",
    "devops_manager.pages.error_pages.ErrorPagesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "devops_manager.lib.addresses.AddressMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "devops_manager.access.devices.DeviceMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "devops_manager.urls"
WSGI_APPLICATION = "devops_manager.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "devops_manager.pages.gate.frame",
            ]
        },
    }
]

# --- PostgreSQL -------------------------------------------------------------------------------
# All processes' max_size together must stay under 100: web 20, gateway 12, a worker child 4.
_POOL = {
    "min_size": env.integer("DM_DB_POOL_MIN", 1, low=0, high=20),
    "max_size": env.integer("DM_DB_POOL_MAX", 20, low=2, high=100),
    "timeout": env.seconds("DM_DB_POOL_TIMEOUT_SECONDS", 5, low=0.1),
    "max_lifetime": env.seconds("DM_DB_POOL_MAX_LIFETIME_SECONDS", 3600, low=1),
    "max_idle": env.seconds("DM_DB_POOL_MAX_IDLE_SECONDS", 1800, low=1),
    # psycopg's pool backs off for up to 300 s by default: after an outage of 40 s it was back
    # after 18 s, with 2 s at once
    "reconnect_timeout": 2,
}
_DATABASE: dict[str, Any] = env.postgres(
    "DATABASE_URL", "postgresql://devops_manager@127.0.0.1:5432/devops_manager"
)
_DATABASE["CONN_MAX_AGE"] = 0  # required with the pool
_DATABASE["OPTIONS"] |= {
    "pool": _POOL,
    "connect_timeout": 5,
    # A network that swallows packets would hold a thread for as long as the kernel is patient.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    # devops_manager.lib.sql asks for prepared statements; Django's own cursor never uses any
    "prepare_threshold": 5,
    "application_name": env.text("DM_PROCESS_NAME", "devops-manager"),
}
DATABASES = {"default": _DATABASE}
# Who owns the tables and runs the migrations, if it is not the role above (database_roles.py).
DATABASE_OWNER: dict[str, Any] | None = None
if env.text("DATABASE_OWNER_URL", ""):
    DATABASE_OWNER = dict(env.postgres("DATABASE_OWNER_URL", ""))
    DATABASE_OWNER["OPTIONS"] = _DATABASE["OPTIONS"] | DATABASE_OWNER["OPTIONS"] | {"pool": False}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Tells two installations on one machine apart: /healthz and /readyz say it.
DM_INSTANCE = env.text("DM_INSTANCE", "")

# --- Redis: caches, wakes, live output, Celery's broker ---------------------------------------
REDIS_URL = env.redis("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_FUNCTION": "devops_manager.lib.cache.plain_key",
        "OPTIONS": {
            "SERIALIZER": "devops_manager.lib.cache.BytesSerializer",
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 1,
            "IGNORE_EXCEPTIONS": True,
        },
    }
}
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
DM_WAKE_CHANNEL = env.text("DM_WAKE_CHANNEL", "dm:wake")

# --- Celery (figures and reasons: docs/architecture.md) ---------------------------------------
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SOFT_TIME_LIMIT = env.integer("DM_JOB_SOFT_LIMIT_SECONDS", 240, low=5, high=3600)
CELERY_TASK_TIME_LIMIT = CELERY_TASK_SOFT_TIME_LIMIT + 30
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "health_check_interval": 25,
    # How often a publisher looks again for a broker that refuses it. Without this it took 6 s, and
    # only then did the web process fan out by itself. (Workers and beat wait as long as it takes.)
    "max_retries": 0,
    "global_keyprefix": env.text("DM_CELERY_KEY_PREFIX", "celery:"),
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"

# --- limits ------------------------------------------------------------------------------------
DM_MAX_CONCURRENT_TASKS = env.integer("DM_MAX_CONCURRENT_TASKS", 100, low=1, high=10_000)
DM_QUEUE_CAPACITY = env.integer("DM_QUEUE_CAPACITY", 1000, low=0, high=100_000)
DM_HOST_CONCURRENCY = env.integer("DM_HOST_CONCURRENCY", 5, low=1, high=1000)
DM_BATCH_SIZE = env.integer("DM_BATCH_SIZE", 500, low=100, high=500)
DM_PAGE_SIZE_MAX = env.integer("DM_PAGE_SIZE_MAX", 200, low=20, high=1000)
DM_MAX_COMMANDS_PER_TASK = env.integer("DM_MAX_COMMANDS_PER_TASK", 50, low=1, high=500)
DM_OUTPUT_CAP_BYTES = env.integer("DM_OUTPUT_CAP_BYTES", 262_144, low=1024, high=1_048_576)
DM_LIVE_OUTPUT_BYTES = env.integer("DM_LIVE_OUTPUT_BYTES", 1_048_576, low=1024, high=67_108_864)
DM_OUTPUT_RETENTION_DAYS = env.integer("DM_OUTPUT_RETENTION_DAYS", 30, low=1, high=3650)

# --- durations, in seconds ---------------------------------------------------------------------
DM_POLL_HOLD_SECONDS = env.seconds("DM_POLL_HOLD_SECONDS", 25, low=0.1, high=300)
DM_OFFLINE_AFTER_SECONDS = env.seconds("DM_OFFLINE_AFTER_SECONDS", 60, low=0.5)
DM_DELIVERY_SECONDS = env.seconds("DM_DELIVERY_SECONDS", 3600, low=1)
DM_DEFAULT_TIMEOUT_SECONDS = env.integer("DM_DEFAULT_TIMEOUT_SECONDS", 300, low=1, high=604_800)
DM_KILL_GRACE_SECONDS = env.seconds("DM_KILL_GRACE_SECONDS", 10, low=0.1, high=600)
DM_UPLOAD_GRACE_SECONDS = env.seconds("DM_UPLOAD_GRACE_SECONDS", 60, low=0.1, high=3600)
DM_INSTANCE_SETTLE_SECONDS = env.seconds(
    "DM_INSTANCE_SETTLE_SECONDS", DM_POLL_HOLD_SECONDS + 10, low=0.1
)
DM_PENDING_QUERY_SECONDS = env.seconds("DM_PENDING_QUERY_SECONDS", 5, low=0.1, high=60)
DM_SWEEP_SECONDS = env.seconds("DM_SWEEP_SECONDS", 3, low=0.1, high=60)
DM_SWEEP_STALL_SECONDS = env.seconds("DM_SWEEP_STALL_SECONDS", 30, low=0.5)
DM_CREDENTIAL_CACHE_SECONDS = env.seconds("DM_CREDENTIAL_CACHE_SECONDS", 30, low=0, high=300)
DM_LIVE_INTERVAL_SECONDS = env.seconds("DM_LIVE_INTERVAL_SECONDS", 1, low=0.05, high=60)

# How often each sweep runs. A message older than its sweep's interval is not worth keeping.
_SWEEP_INTERVALS = {
    "admission": DM_SWEEP_SECONDS,
    "fan_outs": DM_SWEEP_SECONDS,
    "deadlines": DM_SWEEP_SECONDS,
    "offline": DM_SWEEP_SECONDS,
    "counts": 10 * DM_SWEEP_SECONDS,
    "seen_outputs": 10 * DM_SWEEP_SECONDS,
    "partitions": 3600.0,
    "idempotency_keys": 600.0,
    "counted_events": 60.0,
}
CELERY_BEAT_SCHEDULE = {
    f"sweep-{name}": {
        "task": "tasks_app.sweep",
        "args": (name,),
        "schedule": interval,
        "options": {"expires": max(10.0, interval)},
    }
    for name, interval in _SWEEP_INTERVALS.items()
}

if DM_OFFLINE_AFTER_SECONDS <= DM_POLL_HOLD_SECONDS:
    raise ImproperlyConfigured(
        "DM_OFFLINE_AFTER_SECONDS must be longer than DM_POLL_HOLD_SECONDS, "
        "or every idle host would look offline"
    )

# --- the gateway -------------------------------------------------------------------------------
DM_GATEWAY_BATCH = env.integer("DM_GATEWAY_BATCH", 500, low=1, high=1000)
# Where the gateway's workers mark what they have under way; kept over a restart of the process.
DM_GATEWAY_STATE_DIR = Path(env.text("DM_GATEWAY_STATE_DIR", str(BASE_DIR / "var" / "gateway")))
DM_GATEWAY_DB_THREADS = env.integer("DM_GATEWAY_DB_THREADS", 4, low=1, high=32)

# --- connections of people and agents -----------------------------------------------------------
DM_HEAD_TIMEOUT_SECONDS = env.seconds("DM_HEAD_TIMEOUT_SECONDS", 10, low=0.1, high=300)
DM_BODY_TIMEOUT_SECONDS = env.seconds("DM_BODY_TIMEOUT_SECONDS", 30, low=0.1, high=3600)
DM_WEB_MAX_CONNECTIONS = env.integer("DM_WEB_MAX_CONNECTIONS", 2000, low=10, high=100_000)
DM_WEB_BUFFER_BYTES = env.integer(
    "DM_WEB_BUFFER_BYTES", 268_435_456, low=1_048_576, high=1_099_511_627_776
)

# --- for tests: where this process fails on purpose (read by fault_points) ----------------------
DM_FAULT = fault_points.CHOSEN

# --- people ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = [
    "devops_manager.access.hashers.BoundedArgon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = env.integer("DM_LOGIN_FAILURE_LIMIT", 10, low=1, high=1000)
DM_LOGIN_ADDRESS_LIMIT = env.integer("DM_LOGIN_ADDRESS_LIMIT", 30, low=1, high=100_000)
DM_LOGIN_LOCK_SECONDS = env.seconds("DM_LOGIN_LOCK_SECONDS", 900, low=1, high=86_400)
AXES_COOLOFF_TIME = timedelta(seconds=DM_LOGIN_LOCK_SECONDS)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HANDLER = "devops_manager.access.sign_in_limits.SignInLimits"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "registration/locked_out.html"
AXES_LOCKOUT_CALLABLE = "devops_manager.access.lockout.answer"
AXES_ENABLE_ADMIN = False  # the admin of devops_manager.access shows its records
SESSION_ENGINE = "django.contrib.sessions.backends.db"  # sign-in works without Redis
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = DM_TLS
SESSION_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = DM_TLS
# Orchestrators and scrapers ask these directly, without the proxy that does TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if DM_TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if DM_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = DM_TLS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "devops_manager.pages.error_pages.csrf_failure"

# --- API ---------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "devops_manager.access.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["devops_manager.access.permissions.RolePermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["devops_manager.lib.parsers.StrictJSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "devops_manager.lib.pagination.BoundedPagination",
    "DEFAULT_SCHEMA_CLASS": "devops_manager.access.api.auto_schema.GuardedSchema",
    "EXCEPTION_HANDLER": "devops_manager.lib.problem.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DevOps Manager API",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # What is sent and what is answered differ: only the first refuses unknown fields.
    "COMPONENT_SPLIT_REQUEST": True,
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "HostStatus": "hosts_app.states.HostStatus",
        "TaskStatus": "tasks_app.states.TaskStatus",
        "CommandStatus": "tasks_app.states.CommandStatus",
        "RowStatus": "tasks_app.states.RowStatus",
        "Outcome": "tasks_app.states.Outcome",
        "CommandKind": "tasks_app.models.CommandKind",
        "ActorKind": "devops_manager.access.models.AuditEvent.ActorKind",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks_app.api.schema.only_scripts_have_interpreters",
        "devops_manager.access.api.schema.describe_problems",
    ],
}
DATA_UPLOAD_MAX_MEMORY_SIZE = env.integer(
    "DM_MAX_BODY_BYTES", 10_485_760, low=65_536, high=268_435_456
)

# --- languages, time, files --------------------------------------------------------------------
LANGUAGE_CODE = env.text("DM_LANGUAGE", "en")
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.text("DM_TIME_ZONE", "UTC")
STATIC_URL = "/static/"
# Filled by collectstatic in deployments; left out, the files of this source tree are served.
STATIC_ROOT = env.text("DM_STATIC_ROOT", "") or None
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_MAX_AGE = 0 if DEBUG else 60  # of names without a hash; the others: for ever
# Source maps are for people with a debugger: compressing them took 30 of 50 s.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = [*Compressor.SKIP_COMPRESS_EXTENSIONS, "map"]
_STATIC_BACKEND = (
    "devops_manager.static_files.HashedFiles"
    if STATIC_ROOT
    else "django.contrib.staticfiles.storage.StaticFilesStorage"
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _STATIC_BACKEND},
}

# --- logs --------------------------------------------------------------------------------------
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "devops_manager.lib.requests.RequestIdFilter"},
        "one_line_errors": {"()": "devops_manager.lib.requests.OneLineErrors"},
        "quiet_sweeps": {"()": "devops_manager.lib.quiet_logs.QuietSweeps"},
    },
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"}
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id"],
        }
    },
    "loggers": {
        "django_redis.cache": {"filters": ["one_line_errors"]},
        # Idle, these three said two megabytes an hour.
        **{
            name: {"filters": ["quiet_sweeps"]}
            for name in ("celery.app.trace", "celery.beat", "celery.worker.strategy")
        },
    },
    "root": {"handlers": ["stderr"], "level": env.text("DM_LOG_LEVEL", "INFO")},
}
