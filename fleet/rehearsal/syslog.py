"""A host's system log: rsyslog with one file, in the format that the host is to have."""

from fleet.rehearsal import files
from fleet.rehearsal.namespaces import Namespace

MAIL_LOG = "/var/log/mail.log"
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
    host.run("/usr/sbin/rsyslogd", "-i", "/run/rsyslogd.pid")
