"""Settings, all from the environment: the table in README.md lists every variable.

Nothing here asks a person: what must exist before the first start (data folder, secret key, SSH keys)
is made by fleet.bootstrap, which the settings call so that every entry point has it.
"""

import os
from datetime import timedelta
from pathlib import Path

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from fleet import bootstrap, logs, sign_on_settings

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

DATA_DIR = Path(env.str("FLEET_DATA", default=str(BASE_DIR / "var"))).resolve()
bootstrap.prepare_data_dir(DATA_DIR)
SECRET_KEY = env.str("FLEET_SECRET_KEY", default="") or bootstrap.secret_key(DATA_DIR)

AUDIT_KEY_PATH = Path(env.str("FLEET_AUDIT_KEY", default=str(DATA_DIR / "keys" / "audit_key")))
bootstrap.make_audit_key(AUDIT_KEY_PATH)
SEALING_KEY_PATH = Path(env.str("FLEET_SEALING_KEY", default=str(DATA_DIR / "keys" / "sealing_key")))
bootstrap.make_sealing_key(SEALING_KEY_PATH)
AUDIT_ANCHOR_PATH = AUDIT_KEY_PATH.with_name("audit_head")

DEBUG = env.bool("FLEET_DEBUG", default=False)
ALLOWED_HOSTS = env.list("FLEET_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("FLEET_CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "axes",
    "csp",
    "django_htmx",
    "relays",
    "dns",
    "fleet",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "fleet.tokens.BearerMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "fleet.accounts.OneTimePasswordMiddleware",
    "fleet.accounts.RequiredSecondFactorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "fleet.urls"
WSGI_APPLICATION = "fleet.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "fleet.heartbeats.context",
            ],
            "builtins": ["django.templatetags.static", "django.contrib.humanize.templatetags.humanize"],
        },
    },
]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'fleet.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Writers take the lock when they begin, so that none fails half-way with SQLITE_BUSY.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # A database that is gone costs a page seconds, not a thread for minutes.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Log-in -------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "fleet.second_factor.CodeBackend",
]
# PBKDF2 only reads what older installations hold: the next log-in makes it Argon2.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Operators and administrators must have a second factor; they are led to set it up.
REQUIRE_TOTP = env.bool("FLEET_REQUIRE_TOTP", default=False)
# None: local accounts alone. They stay beside it, for the day on which the provider is away.
SIGN_ON = sign_on_settings.read(os.environ)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "matrix"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
# One attacker must not lock everybody out, nor one user name be locked for all.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "fleet/locked_out.html"
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
AXES_USERNAME_CALLABLE = "fleet.accounts.throttled_name"
# It keeps the form of a failed log-in, with these masked.
AXES_SENSITIVE_PARAMETERS = ["username", "password", "code", "ip_address"]
# 0: the peer's own address counts; X-Forwarded-For is read only behind that many proxies of ours.
TRUSTED_PROXIES = env.int("FLEET_TRUSTED_PROXIES", default=0)
AXES_CLIENT_IP_CALLABLE = "fleet.accounts.client_address"

HTTPS = env.bool("FLEET_HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "fleet_session"
CSRF_COOKIE_NAME = "fleet_csrf"
CSRF_FAILURE_VIEW = "fleet.views.denials.forged"
SESSION_COOKIE_AGE = 12 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS and TRUSTED_PROXIES else None
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    },
}

# --- Files --------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# Pages work before collectstatic has run (tests, `manage.py runserver`).
WHITENOISE_USE_FINDERS = True

USE_I18N = False
USE_TZ = True
TIME_ZONE = env.str("FLEET_TIME_ZONE", default="UTC")
USE_THOUSAND_SEPARATOR = True

# --- Collecting ---------------------------------------------------------------------------------
POLL_INTERVAL_S = env.int("FLEET_POLL_INTERVAL_S", default=60)
READ_KEY_PATH = Path(env.str("FLEET_READ_KEY", default=str(DATA_DIR / "keys" / "read_ed25519")))
# Only the worker that changes hosts needs it; it opens nothing but relayctl's write verbs.
WRITE_KEY_PATH = Path(env.str("FLEET_WRITE_KEY", default=str(DATA_DIR / "keys" / "write_ed25519")))
# How long a redirect outlives the last word from the console: relayctl takes 30 to 3,600 s.
FLUSH_LEASE_S = env.int("FLEET_FLUSH_LEASE_S", default=900)

# --- DNS ----------------------------------------------------------------------------------------
# Who is asked for PTR and host records: "192.0.2.53" or "192.0.2.53:5300"; empty: the machine's resolver.
RESOLVER = env.str("FLEET_RESOLVER", default="")
# What the checklist of a ramp asks it: whose SPF has to cover an address, and which lists must not have it.
SENDER_DOMAINS = env.list("FLEET_SENDER_DOMAINS", default=[])
BLOCK_LISTS = env.list("FLEET_BLOCK_LISTS", default=[])

# --- Ramps --------------------------------------------------------------------------------------
# Days of so many seconds, for rehearsals alone: real addresses are judged by real days.
REHEARSAL = env.bool("FLEET_REHEARSAL", default=False)
RAMP_DAY_S = env.int("FLEET_RAMP_DAY_S", default=0) if REHEARSAL else 0
if RAMP_DAY_S % 300 or RAMP_DAY_S < 0:
    raise ImproperlyConfigured("FLEET_RAMP_DAY_S is a number of 5-minute buckets, in seconds: 300, 600, ...")

# --- Mail to the operators ----------------------------------------------------------------------
# smtp://USER:PASSWORD@HOST:PORT, smtp+tls://..., or consolemail://; empty: nobody is mailed.
EMAIL_URL = env.str("EMAIL_URL", default="")
if EMAIL_URL:
    vars().update(env.email_url("EMAIL_URL"))
# A server that does not answer must not keep a worker.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("FLEET_ALERTS_FROM", default="relay-fleet@localhost")
# None given: the addresses of the operators' accounts.
ALERTS_TO = env.list("FLEET_ALERTS_TO", default=[])

# --- Celery -------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="filesystem://localhost")
if CELERY_BROKER_URL.startswith("filesystem:"):
    _spool = DATA_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # One folder both ways: every process of this installation writes where the worker reads.
        "data_folder_in": str(_spool / "messages"),
        "data_folder_out": str(_spool / "messages"),
        "control_folder": str(_spool / "control"),
        "store_processed": False,
        "polling_interval": 0.25,
    }
elif CELERY_BROKER_URL.startswith(("redis:", "rediss:")):
    # Redis gives a message again when nobody confirmed it for so long: more than any task takes.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600}
# A worker waits for its broker for ever; a page that sends a task does not.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 4
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.2}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "collect"
CELERY_TIMEZONE = "UTC"
# Often enough that no host waits long after it is due.
_DISPATCH_EVERY_S = max(1, min(10, POLL_INTERVAL_S // 2))
# A message of the schedule that waited longer than `expires` is dropped: an outage leaves no backlog.
CELERY_BEAT_SCHEDULE = {
    "dispatch-due-polls": {
        "task": "relays.tasks.dispatch_due_polls",
        "schedule": _DISPATCH_EVERY_S,
        "options": {"expires": 30},
    },
    "sweep-operations": {"task": "relays.tasks.sweep_operations", "schedule": 20, "options": {"expires": 20}},
    "anchor-audit": {"task": "relays.tasks.anchor_audit", "schedule": 300, "options": {"expires": 300}},
    "check-relay-names": {
        "task": "dns.tasks.check_relay_names",
        "schedule": 300,
        "options": {"expires": 300},
    },
    "run-ramps": {"task": "dns.tasks.run_ramps", "schedule": 60, "options": {"expires": 60}},
    "tell-operators": {"task": "relays.tasks.tell_operators", "schedule": 60, "options": {"expires": 60}},
    "roll-up": {"task": "relays.tasks.roll_up", "schedule": 300, "options": {"expires": 300}},
    "reclassify": {"task": "relays.tasks.reclassify", "schedule": 300, "options": {"expires": 300}},
    "prune": {"task": "relays.tasks.prune", "schedule": 86400, "options": {"expires": 3600}},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "schedule")

# --- Logs ---------------------------------------------------------------------------------------
LOG_FORMAT = env.str("FLEET_LOG_FORMAT", default="text")
LOGGING = logs.config(LOG_FORMAT, env.str("FLEET_LOG_LEVEL", default="INFO"))

# --- Processes (manage.py up) -------------------------------------------------------------------
BIND = env.str("FLEET_BIND", default="127.0.0.1")
PORT = env.int("FLEET_PORT", default=8000)
# Most of them wait on SSH; each keeps a database connection.
WORKER_THREADS = env.int("FLEET_WORKER_THREADS", default=32)
