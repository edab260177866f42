"""A host's system log: rsyslog with one file, in the format that the host is to have, and its rotation."""

from fleet.rehearsal import files
from fleet.rehearsal.namespaces import Namespace

MAIL_LOG = "/var/log/mail.log"
_PID = "/run/rsyslogd.pid"
_LOGROTATE = "/etc/logrotate.mail"
_ROTATE = """\
{log} {{
    rotate 100
    compress
    {how}
    postrotate
        kill -{signal} $(cat {pid})
    endscript
}}
"""
# logrotate itself loses what is written between its copying and its truncating.
_STANDSTILL = f"""copytruncate
    prerotate
        kill -STOP $(cat {_PID})
    endscript"""
_TEMPLATES = {"traditional": "RSYSLOG_TraditionalFileFormat", "rfc3339": "RSYSLOG_FileFormat"}


def start(host: Namespace, log_format: str) -> None:
    """Configure and start rsyslog; `log_format` is `traditional` or `rfc3339`."""
    files.write(
        host.root,
        "/etc/rsyslog.conf",
        f"""module(load="imuxsock")
$FileOwner root
$FileGroup adm
$FileCreateMode 0640
$Umask 0022
mail.* {MAIL_LOG};{_TEMPLATES[log_format]}
*.*;mail.none /var/log/syslog;{_TEMPLATES[log_format]}
""",
    )
    host.run("/usr/sbin/rsyslogd", "-i", _PID)


def stop(host: Namespace) -> None:
    """End rsyslog in order: it writes all that it was given."""
    script = 'pid=$(cat "$1") && kill "$pid" && while kill -0 "$pid" 2>&-; do sleep 0.1; done'
    host.run("/bin/sh", "-c", script, "stop", _PID)


def rotate(host: Namespace, *, copy: bool = False) -> None:
    """Rotate the mail log with logrotate(8): as Debian does, or by copying, and compressing at once.

    A host keeps to one of the two, or logrotate writes over what it rotated in the other way.
    """
    how = _STANDSTILL if copy else "create 0640 root adm\n    delaycompress"
    signal = "CONT" if copy else "HUP"
    text = _ROTATE.format(log=MAIL_LOG, how=how, signal=signal, pid=_PID)
    files.write(host.root, _LOGROTATE, text).chmod(0o644)
    host.run("/usr/sbin/logrotate", "--force", _LOGROTATE)
