"""gunicorn's configuration (`gunicorn -c python:fleet.gunicorn fleet.wsgi`).

The pages are short and wait on the database: a few processes with threads. `manage.py up` hands the
listening socket over; anything else that starts gunicorn gives `--bind`.
"""

import os

from fleet import logs

worker_class = "gthread"
workers = int(os.environ.get("FLEET_WEB_WORKERS", "2"))
threads = int(os.environ.get("FLEET_WEB_THREADS", "8"))
timeout = 60
# Below the grace that the supervisor gives.
graceful_timeout = 2
# Heartbeat files on a slow disk would look like a hung worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True
logconfig_dict = logs.config(
    os.environ.get("FLEET_LOG_FORMAT", "text"), os.environ.get("FLEET_LOG_LEVEL", "INFO")
)
