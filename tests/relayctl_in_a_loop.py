"""relayctl.pyz asked again and again, in a process of its own each time: what strace follows in a sandbox.

Arguments: the program, the door (`read` or `write`), the files of the requests and of what became of each.
Run by the host's own Python: standard library only.
"""

import base64
import importlib
import json
import os
import pwd
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_PACE = "/var/lib/relay-fleet/instances/msn-a/pace.json"
CRASHED = 99


def main(program: str, door: str, requests: str, told: str) -> None:
    """Answer each request, and write how: exit status, and the reply's code."""
    sys.path.insert(0, program)
    serve = _imported(program)
    _come_in(door)
    sent = [base64.b64decode(text) for text in json.loads(Path(requests).read_text())]
    Path(told).write_text(json.dumps([_answered(serve, request) for request in sent]))


def _imported(program: str) -> Any:
    """Return the function that serves, with all that it would import: a loop would import it each time."""
    for name in zipfile.ZipFile(program).namelist():
        if name.startswith("relays/agent/") and name.endswith(".py") and "__" not in name:
            importlib.import_module(name.removesuffix(".py").replace("/", "."))
    archive = importlib.import_module("relays.agent.archive")
    archive.own_bytes()
    return importlib.import_module("relays.agent.serve").serve


def _come_in(door: str) -> None:
    """Be who sshd and sudo would have made of the console."""
    os.environ.clear()
    os.environ["SSH_CONNECTION"] = "198.51.100.7 40000 198.51.100.10 22"
    if door == "write":
        os.environ["SUDO_USER"] = "relay-write"
        return
    reader = pwd.getpwnam("relay-read")
    os.initgroups(reader.pw_name, reader.pw_gid)
    os.setgid(reader.pw_gid)
    os.setuid(reader.pw_uid)


def _answered(serve: Any, request: bytes) -> tuple[int, str]:
    # Or most changes would be refused as too many.
    with suppress(OSError):
        Path(_PACE).unlink()
    asked, answer = os.memfd_create("request"), os.memfd_create("answer")
    os.write(asked, request)
    os.lseek(asked, 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        status = CRASHED
        try:
            status = serve(asked, answer)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    text = os.pread(answer, os.fstat(answer).st_size, 0)
    os.close(asked)
    os.close(answer)
    return os.waitstatus_to_exitcode(status), _code(text)


def _code(text: bytes) -> str:
    """Return "ok", the code of the error, or what is wrong with the reply."""
    try:
        rows = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return "incomplete: no JSON"
    if len(rows) < 2 or rows[-1].get("end") is not True:
        return "incomplete"
    error = rows[0].get("error") or rows[-1].get("error")
    return str(error["code"]) if error else "ok"


if __name__ == "__main__":
    main(*sys.argv[1:])
