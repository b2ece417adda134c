"""Settings of every role, read strictly from the environment (see docs/operations.md).

Role `api` is the vector API alone: it loads the app `vectors` and nothing of the control plane.
"""

import os
import secrets
import sys
from pathlib import Path

from controlplane import __version__, embedded
from controlplane.database import database_settings
from controlplane.env import Env

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = __version__
env = Env()

ROLE = env.text(
    "AINDUS_ROLE",
    "manage",
    choices=("manage", "web", "worker", "beat", "api"),
    doc="Which of the image's roles this process has.",
)
DEBUG = False
DATA_DIR = Path(
    env.text(
        "AINDUS_DATA_DIR",
        str(Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "aindusdb"),
        doc="Where the embedded servers, secrets, logs and local replicas are kept.",
    )
).expanduser()
EMBEDDED = embedded.Layout(DATA_DIR)

DATABASE_URL = env.text(
    "DATABASE_URL", EMBEDDED.database_url, doc="The PostgreSQL server; the embedded one when not set."
)
REDIS_URL = env.text("REDIS_URL", EMBEDDED.redis_url, doc="The Redis server; the embedded one when not set.")
DATABASES = {"default": database_settings(DATABASE_URL, pool=ROLE == "web")}

if ROLE == "api":
    # Role api signs nothing with it, and must start without a data directory.
    SECRET_KEY = env.text("AINDUS_SECRET_KEY", None, doc="") or secrets.token_urlsafe(48)
else:
    SECRET_KEY = env.secret(
        "AINDUS_SECRET_KEY", EMBEDDED.secrets / "secret_key", doc="Signs sessions. Made on the first start."
    )
ALLOWED_HOSTS = env.words(
    "AINDUS_ALLOWED_HOSTS",
    "*" if ROLE == "api" else "localhost,127.0.0.1,[::1]",
    doc="Host names the web role answers to.",
)
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "controlplane.urls"

VECTORS = {
    "jwt_secret_key": env.text(
        "JWT_SECRET_KEY", doc="Key (HS256) of the JWTs the vector API accepts; without it only API keys are."
    ),
    "jwt_secret_key_previous": env.text(
        "JWT_SECRET_KEY_PREVIOUS", doc="A second key of JWTs that is accepted, while keys are changed."
    ),
    "region": env.text("CLUSTER_REGION", doc="Region this replica runs in; shown at /health."),
    "cloud": env.text("CLOUD_PROVIDER", doc="Cloud this replica runs on; shown at /health."),
    "replica_dir": env.text("AINDUS_REPLICA_DIR", doc="Folder of one replica: its lock and replica.json."),
    "workers": env.integer(
        "AINDUS_API_WORKERS", 1, least=1, most=64, doc="Processes of one vector API replica."
    ),
    "threads": env.integer(
        "AINDUS_API_THREADS", 6, least=1, most=64, doc="Threads of each of those processes."
    ),
    "queue_requests": env.integer(
        "AINDUS_QUEUE_REQUESTS",
        32,
        most=1000,
        doc="Most requests that wait for one of those threads; more are refused with 429.",
    ),
    "queue_ms": env.integer(
        "AINDUS_QUEUE_MS",
        250,
        least=1,
        doc="How long a read is left to wait at most before 429; other calls ten times as long.",
    ),
    "rate_limit": env.integer(
        "AINDUS_RATE_LIMIT",
        0,
        doc="Requests a second of one API key or JWT subject, unless its key says otherwise; 0: any.",
    ),
    "rate_burst": env.integer(
        "AINDUS_RATE_BURST", 0, doc="Requests of it at once; 0: as many as a second allows."
    ),
    "max_body_bytes": env.integer(
        "AINDUS_MAX_BODY_BYTES", 32 * 2**20, least=1024, doc="Largest request body of the vector API."
    ),
    "max_batch_points": env.integer(
        "AINDUS_MAX_BATCH_POINTS",
        10_000,
        least=1,
        most=100_000,
        doc="Most points in one upsert, fetch or delete.",
    ),
    "max_top_k": env.integer(
        "AINDUS_MAX_TOP_K", 10_000, least=1, most=100_000, doc="Greatest top_k of a query."
    ),
    "statement_timeout_ms": env.integer(
        "AINDUS_STATEMENT_TIMEOUT_MS",
        30_000,
        least=10,
        doc="How long one statement of the vector API may run.",
    ),
    "slow_request_ms": env.integer(
        "AINDUS_SLOW_REQUEST_MS", 1000, least=0, doc="Requests of the vector API slower than this are logged."
    ),
    "slow_query_ms": env.integer(
        "AINDUS_SLOW_QUERY_MS", 500, doc="Queries slower than this are kept with their plan; 0: none."
    ),
    "access_log": env.boolean(
        "AINDUS_ACCESS_LOG", True, doc="One log line for every request to the vector API."
    ),
    "index_memory_mib": env.integer(
        "AINDUS_INDEX_MEMORY_MIB",
        0,
        doc="Most maintenance_work_mem of an index build; 0: the server's own setting.",
    ),
    "auto_index_points": env.integer(
        "AINDUS_AUTO_INDEX_POINTS", 10_000, least=1, doc="Points from which an index is built by itself."
    ),
    "merge_index_points": env.integer(
        "AINDUS_MERGE_INDEX_POINTS",
        2_000,
        least=100,
        doc="Points written beside an index from which they are indexed while writes go on.",
    ),
    "auto_index_pause_seconds": env.integer(
        "AINDUS_AUTO_INDEX_PAUSE_SECONDS", 10, least=1, doc="How long writes must have paused before that."
    ),
    "recall_hours": env.integer(
        "AINDUS_RECALL_HOURS",
        24,
        doc="Hours between measurements of the recall of a collection that changes; 0: none.",
    ),
    "recall_seconds": env.integer(
        "AINDUS_RECALL_SECONDS", 60, least=1, doc="How long one measurement of recall may take."
    ),
    "upload_bytes": env.integer(
        "AINDUS_UPLOAD_BYTES", 8 * 2**30, least=1, most=2**50, doc="Largest upload for an import."
    ),
    "uploads_bytes": env.integer(
        "AINDUS_UPLOADS_BYTES",
        32 * 2**30,
        least=1,
        most=2**50,
        doc="All uploads of a target together; they are kept in its database.",
    ),
    "upload_hours": env.integer(
        "AINDUS_UPLOAD_HOURS",
        24,
        least=1,
        most=8760,
        doc="Hours after which an upload that is neither written nor used is deleted.",
    ),
    "transfer_paths": env.words(
        "AINDUS_TRANSFER_PATHS",
        doc="Folders of the server that imports may read and exports write; none by default.",
    ),
    "transfer_urls": env.words(
        "AINDUS_TRANSFER_URLS",
        doc="What URLs of imports and exports may start with, such as s3://bucket/a/; none by default.",
    ),
    "postgres_bin": env.text(
        "AINDUS_POSTGRES_BIN",
        doc="Folder of the pg_dump and pg_restore of backups; those that come along when not set.",
    ),
    "drill_delay_ms": env.integer(
        "AINDUS_DRILL_DELAY_MS", 0, most=60_000, doc="A drill: requests are answered so much later; 0: off."
    ),
    "drill_delay_percent": env.integer(
        "AINDUS_DRILL_DELAY_PERCENT", 100, most=100, doc="How many of the requests that delay is for."
    ),
    "drill_error_percent": env.integer(
        "AINDUS_DRILL_ERROR_PERCENT", 0, most=100, doc="A drill: so many requests answer 500; 0: off."
    ),
    "drill_search_width": env.integer(
        "AINDUS_DRILL_SEARCH_WIDTH",
        0,
        most=1000,
        doc="A drill: indexes are searched at most so widely, which costs recall; 0: off.",
    ),
    "transfer_networks": env.words(
        "AINDUS_TRANSFER_NETWORKS",
        doc="Networks that http(s) URLs of imports and exports may lead to besides public addresses.",
    ),
}

if ROLE == "api":
    INSTALLED_APPS = ["vectors"]
    MIDDLEWARE = []
    ROOT_URLCONF = "vectors.urls_api"
else:
    # Newest first; `manage.py rotate_secrets` re-encrypts what an older key wrote.
    ENCRYPTION_KEYS = [
        key.strip()
        for key in env.secret(
            "AINDUS_ENCRYPTION_KEYS",
            EMBEDDED.secrets / "encryption_keys",
            make=lambda: __import__("cryptography.fernet").fernet.Fernet.generate_key().decode(),
            doc="Fernet keys that encrypt secrets at rest, newest first, separated by commas.",
        ).split(",")
    ]
    INSTALLED_APPS = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "django.contrib.postgres",
        "django_htmx",
        "rest_framework",
        "drf_spectacular",
        "drf_spectacular_sidecar",
        "controlplane",
        "worker",
        "deployments",
        "costs",
        "vectors",
    ]
    MIDDLEWARE = [
        "controlplane.middleware.RequestIdMiddleware",
        "controlplane.middleware.MetricsMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django_htmx.middleware.HtmxMiddleware",
        "controlplane.pages.middleware.PagesMiddleware",
    ]
    AUTH_USER_MODEL = "controlplane.User"
    AUTH_PASSWORD_VALIDATORS = [
        {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
        {
            "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
            "OPTIONS": {"min_length": 10},
        },
        {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    ]
    MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    LOGIN_URL = "/sign-in/"
    LOGIN_REDIRECT_URL = "/"
    LOGOUT_REDIRECT_URL = "/sign-in/"
    SESSION_COOKIE_AGE = 14 * 24 * 3600
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.boolean(
        "AINDUS_SECURE_COOKIES", False, doc="Send cookies over HTTPS only; set it behind a TLS proxy."
    )
    CSRF_TRUSTED_ORIGINS = env.words(
        "AINDUS_TRUSTED_ORIGINS", doc="Origins (scheme://host) of the proxy that browsers see."
    )
    if SESSION_COOKIE_SECURE:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_CONTENT_TYPE_NOSNIFF = True
    X_FRAME_OPTIONS = "DENY"
    CSRF_FAILURE_VIEW = "controlplane.pages.errors.csrf_failure"
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [BASE_DIR / "templates"],
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                    "controlplane.context.navigation",
                ],
            },
        }
    ]
    STATIC_URL = "/static/"
    # WhiteNoise serves the apps' own folders; nothing is collected.
    STATICFILES_DIRS = [BASE_DIR / "controlplane" / "static"]
    WHITENOISE_USE_FINDERS = True
    REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "controlplane.api.authentication.BearerAuthentication",
            "controlplane.api.authentication.SessionAuthentication",
        ],
        "DEFAULT_PERMISSION_CLASSES": ["controlplane.api.permissions.RolePermission"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["controlplane.api.parsing.StrictJSONParser"],
        "DEFAULT_SCHEMA_CLASS": "controlplane.api.schema.RouteSchema",
        "EXCEPTION_HANDLER": "controlplane.api.errors.exception_handler",
        "UNAUTHENTICATED_USER": None,
    }
    SPECTACULAR_SETTINGS = {
        "TITLE": "AindusDB Control Plane",
        "VERSION": __version__,
        "OAS_VERSION": "3.1.0",
        "SERVE_INCLUDE_SCHEMA": False,
        "SWAGGER_UI_DIST": "SIDECAR",
        "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
        "SCHEMA_PATH_PREFIX": "/api/v1",
        "COMPONENT_SPLIT_REQUEST": True,
        "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
        "ENUM_NAME_OVERRIDES": {
            "Role": "controlplane.models.Role",
            "TargetRole": "deployments.api.serializers.ROLES",
            "RevisionRole": "deployments.api.observed.REVISION_ROLES",
            "OperationStatus": "worker.models.Status",
            "TargetStatus": "deployments.models.TargetStatus",
            "AccountStatus": "deployments.models.AccountStatus",
            "Health": "deployments.models.Health",
            "RolloutStatus": "deployments.models.RolloutStatus",
            "ReplicaStatus": "deployments.models.ReplicaStatus",
            "RecommendationStatus": "costs.models_planning.RecommendationStatus",
            "BackupStatus": "deployments.backups.models.BackupStatus",
            "RestoreStatus": "deployments.backups.models.RestoreStatus",
            "RestoreMode": "deployments.backups.models.RestoreMode",
            "FleetRolloutStatus": "deployments.fleets.models.FleetRolloutStatus",
            "FleetMoveStatus": "deployments.fleets.models.MoveStatus",
            "AlertChannelKind": "costs.models_planning.ChannelKind",
            "ResourceKind": "costs.api.estimates.RESOURCE_KINDS",
        },
        "POSTPROCESSING_HOOKS": [
            "drf_spectacular.hooks.postprocess_schema_enums",
            "controlplane.api.schema.add_shared_parts",
        ],
    }
    # (module with `paths(prefix, tag)` and `schemas()`, prefix, tag) of what DRF's views do not serve.
    OPENAPI_FRAGMENTS = [
        ("vectors.openapi", "/api/v1/vectors", "Vectors"),
        ("vectors.openapi", "/api/v1/targets/{target}/vectors", "Vectors of a target"),
    ]
    OPERATION_LEASE_SECONDS = env.integer(
        "AINDUS_OPERATION_LEASE_SECONDS",
        20,
        least=3,
        most=3600,
        doc="How long a worker owns a step; a step's hard time limit is 2 s less.",
    )
    OPERATION_ATTEMPTS = env.integer(
        "AINDUS_OPERATION_ATTEMPTS",
        8,
        least=1,
        most=100,
        doc="How often a step is tried in a row before its operation fails.",
    )
    WORKER_CONCURRENCY = env.integer(
        "AINDUS_WORKER_CONCURRENCY", 4, least=1, most=256, doc="Processes of one Celery worker."
    )
    WORKER_QUEUES = env.words(
        "AINDUS_WORKER_QUEUES", "operations,maintenance", doc="Queues this worker takes work from."
    )

    PROBE_PORT = env.integer(
        "AINDUS_PROBE_PORT",
        0,
        most=65535,
        doc="Port of a role's own /health, /ready and /metrics, for what watches it from beside; 0: none.",
    )
    METRICS_NETWORKS = env.words(
        "AINDUS_METRICS_NETWORKS",
        "127.0.0.0/8,::1/128",
        doc="Networks that may read /metrics of the web role; never through a proxy.",
    )
    # (regular expression, dotted path) of ASGI applications that take a request before Django does.
    ASGI_MOUNTS = [(r"/api/v1/targets/[^/]+/vectors(/|\Z)", "deployments.gateway.application")]
    # Who calls this installation's own vector API; targets have their own authentication.
    VECTORS_AUTHENTICATE = "controlplane.api.authentication.vectors_caller"
    # Called with the first project on a start until each has worked once; see controlplane/first_start.py.
    FIRST_START_HOOKS = ["deployments.first_start.create_local_target"]
    # Called with the data directory when `manage.py up` stops, after the worker and before the servers.
    STOP_HOOKS = ["deployments.runtimes.processes.stop_all"]

    # What `manage.py up --check` runs; see deployments/first_light/installation.py for its arguments.
    CHECK_COMMAND = "deployments.first_light.installation.run"

    IN_CLUSTER_ACCESS = env.boolean(
        "AINDUS_IN_CLUSTER_ACCESS",
        False,
        doc="Let accounts use the service account of the control plane's own pod.",
    )
    BACKUP_URLS = env.words(
        "AINDUS_BACKUP_URLS",
        doc="What URLs of backups may start with, such as s3://bucket/a/; none by default.",
    )
    PROVIDERS_OFF = env.words(
        "AINDUS_PROVIDERS_OFF",
        doc="Providers that no target is made with here, as local in a container.",
    )
    API_IMAGE = f"aindusdb/api:{__version__}"
    API_COMMAND = [sys.executable, str(BASE_DIR / "manage.py"), "api"]
    REPLICA_HOST = "127.0.0.1"
    REPLICA_PORTS = env.ports(
        "AINDUS_REPLICA_PORTS", "8100-8999", doc="TCP ports that replicas on this machine listen on."
    )
    REPLICA_READY_SECONDS = env.integer(
        "AINDUS_REPLICA_READY_SECONDS",
        20,
        least=2,
        most=3600,
        doc="How long a new replica may take to become ready before its release is taken back.",
    )
    WORKLOAD_READY_SECONDS = env.integer(
        "AINDUS_WORKLOAD_READY_SECONDS",
        600,
        least=5,
        most=86_400,
        doc="How long a cluster's pods may make no progress before their release is taken back.",
    )
    WORKLOAD_PROBLEM_SECONDS = env.integer(
        "AINDUS_WORKLOAD_PROBLEM_SECONDS",
        6,
        least=0,
        most=86_400,
        doc="How long pods may crash, not be pulled or not be admitted before their release is taken back.",
    )
    WORKLOAD_UNSCHEDULABLE_SECONDS = env.integer(
        "AINDUS_WORKLOAD_UNSCHEDULABLE_SECONDS",
        120,
        least=1,
        most=86_400,
        doc="How long pods may wait for a node, which an autoscaler may be adding.",
    )
    REPLICA_STOP_SECONDS = env.integer(
        "AINDUS_REPLICA_STOP_SECONDS",
        8,
        least=0,
        most=300,
        doc="How long a stopping replica may finish its requests before it is killed.",
    )
    REPLICA_LOG_MIB = env.integer(
        "AINDUS_REPLICA_LOG_MIB", 64, least=2, most=100_000, doc="Disk that one replica's log may take."
    )
    REPLICA_KEEP_HOURS = env.integer(
        "AINDUS_REPLICA_KEEP_HOURS", 24, least=1, doc="How long the logs of a replica that ended are kept."
    )
    # Days that metric points are kept, by the length of their interval in seconds.
    METRICS_KEEP_DAYS = {
        15: env.integer(
            "AINDUS_METRICS_KEEP_15S_DAYS",
            2,
            least=1,
            most=90,
            doc="Days that metrics are kept at 15 s resolution.",
        ),
        300: env.integer(
            "AINDUS_METRICS_KEEP_5M_DAYS",
            30,
            least=1,
            most=1000,
            doc="Days that metrics are kept at 5 min resolution.",
        ),
        3600: env.integer(
            "AINDUS_METRICS_KEEP_1H_DAYS",
            400,
            least=1,
            most=10_000,
            doc="Days that metrics at 1 h resolution and changes of health are kept.",
        ),
    }
    # Where the clouds' price lists are read; tests put their own server there.
    PRICES_URLS = {
        "aws": env.text(
            "AINDUS_AWS_PRICES_URL",
            "https://pricing.us-east-1.amazonaws.com",
            doc="Where the AWS Price List's bulk files are.",
        ),
        "azure": env.text(
            "AINDUS_AZURE_PRICES_URL", "https://prices.azure.com", doc="Where Azure's Retail Prices API is."
        ),
        "gcp": env.text(
            "AINDUS_GCP_PRICES_URL",
            "https://cloudbilling.googleapis.com",
            doc="Where Google Cloud's Billing Catalog API is.",
        ),
    }
    GCP_PRICES_KEY = env.text(
        "AINDUS_GCP_PRICES_KEY", doc="API key that reads Google Cloud's Billing Catalog."
    )
    SMTP_URL = env.text(
        "AINDUS_SMTP_URL",
        doc="Server for e-mail alerts: smtp://user:password@host:587 (STARTTLS where it offers it) or smtps://.",
    )
    MAIL_FROM = env.text(
        "AINDUS_MAIL_FROM", "aindusdb@localhost", doc="Address that e-mail alerts are sent from."
    )
    ALERT_NETWORKS = env.words(
        "AINDUS_ALERT_NETWORKS", doc="Networks that webhooks of alerts may lead to besides public addresses."
    )
    PUBLIC_URL = env.text(
        "AINDUS_PUBLIC_URL", doc="Address of the dashboard as people reach it; alerts link to it."
    ).rstrip("/")
    COST_UPLOAD_BYTES = env.integer(
        "AINDUS_COST_UPLOAD_BYTES",
        16 * 2**30,
        least=1,
        most=2**50,
        doc="Largest file of costs that is uploaded.",
    )
    COST_HISTORY_MONTHS = env.integer(
        "AINDUS_COST_HISTORY_MONTHS",
        13,
        least=2,
        most=120,
        doc="Billing months, the open one included, that a source of costs is read for.",
    )
    # Where Azure's storage accounts and its management API are reached.
    COST_AZURE_BLOB_URL = env.text(
        "AINDUS_AZURE_BLOB_URL",
        "https://{account}.blob.core.windows.net",
        doc="URL of Azure's storage accounts, where exports of costs are read.",
    )
    COST_AZURE_MANAGEMENT_URL = env.text(
        "AINDUS_AZURE_MANAGEMENT_URL",
        "https://management.azure.com",
        doc="URL of Azure's management API, which costs are queried at.",
    )
    # How often the gateway reads anew which replicas are ready.
    GATEWAY_REFRESH_SECONDS = 1
    # What beat sends, and how often in seconds. A message that waited longer than `expires` is dropped.
    BEAT_SCHEDULE = {
        "heartbeat": {
            "task": "controlplane.heartbeat",
            "schedule": 5.0,
            "options": {"expires": 5, "queue": "maintenance"},
        },
        "forget-answers": {
            "task": "controlplane.forget_answers",
            "schedule": 3600.0,
            "options": {"expires": 3600, "queue": "maintenance"},
        },
        "sweep": {"task": "worker.sweep", "schedule": 2.0, "options": {"expires": 2, "queue": "maintenance"}},
        "reconcile": {
            "task": "deployments.reconcile",
            "schedule": 2.0,
            "options": {"expires": 2, "queue": "maintenance"},
        },
        "watch": {
            "task": "deployments.watch",
            "schedule": 2.0,
            "options": {"expires": 2, "queue": "maintenance"},
        },
        "probe": {
            "task": "deployments.probe",
            "schedule": 3.0,
            "options": {"expires": 3, "queue": "maintenance"},
        },
        "scrape": {
            "task": "deployments.scrape",
            "schedule": 15.0,
            "options": {"expires": 15, "queue": "maintenance"},
        },
        "watch_budgets": {
            "task": "costs.watch_budgets",
            "schedule": 600.0,
            "options": {"expires": 600, "queue": "maintenance"},
        },
        "find_recommendations": {
            "task": "costs.find_recommendations",
            "schedule": 6 * 3600.0,
            "options": {"expires": 3600, "queue": "maintenance"},
        },
        "roll_up": {
            "task": "deployments.roll_up",
            "schedule": 60.0,
            "options": {"expires": 60, "queue": "maintenance"},
        },
        "drift": {
            "task": "deployments.drift",
            "schedule": 60.0,
            "options": {"expires": 60, "queue": "maintenance"},
        },
        "backups": {
            "task": "deployments.backups",
            "schedule": 15.0,
            "options": {"expires": 15, "queue": "maintenance"},
        },
        "sync_costs": {
            "task": "costs.sync_sources",
            "schedule": 300.0,
            "options": {"expires": 300, "queue": "maintenance"},
        },
        "tidy_replicas": {
            "task": "deployments.tidy_replicas",
            "schedule": 30.0,
            "options": {"expires": 30, "queue": "maintenance"},
        },
    }

LOG_LEVEL = env.text(
    "AINDUS_LOG_LEVEL",
    "INFO",
    choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    doc="Least level that is logged.",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "controlplane.log.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "WARNING"},
        # A line for every task that beat sends and a worker takes would hide all others.
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}
