"""A stand-in for systemctl where systemd cannot run: it does to files what systemd does, and is as strict."""

_SCRIPT = """\
#!/bin/sh
# Units that systemd has read lie in loaded/, those that it runs in active/, what it was asked in calls.
units={units} state={state}
mkdir -p $state/loaded $state/active
echo "$*" >>$state/calls
[ "$1" = --quiet ] && shift
verb=$1; shift
[ "$1" = --now ] && {{ now=yes; shift; }}
wants=$units/timers.target.wants
loaded() {{
    cmp -s $units/$1 $state/loaded/$1 && return
    echo "Unit $1 changed on disk, or not found." >&2
    exit 5
}}
case $verb in
daemon-reload) rm -f $state/loaded/*; cp $units/relay-fleet-*.* $state/loaded/ 2>/dev/null; exit 0 ;;
is-enabled) [ -L $wants/$1 ] ;;
is-active) [ -e $state/active/$1 ] ;;
enable)
    loaded $1; loaded ${{1%.timer}}.service
    mkdir -p $wants; ln -sf $units/$1 $wants/$1
    [ -z "$now" ] || touch $state/active/$1 ;;
stop) for unit; do rm -f $state/active/$unit; done ;;
disable) rm -f $wants/$1; rmdir $wants 2>/dev/null; exit 0 ;;
*) echo "Unknown command verb $verb." >&2; exit 1 ;;
esac
"""


def script(*, units: str = "/etc/systemd/system", state: str = "/run/stand-in") -> str:
    """Return the program; units: where unit files lie, state: what it keeps."""
    return _SCRIPT.format(units=units, state=state)
