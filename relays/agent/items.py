"""What an installation is made of: each kind tells what it would change, makes it, and takes it away."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import stat
from typing import Any

from relays.agent import children
from relays.agent.manifest import Manifest, sha256_of, sync_directory, temporary, write_file
from relays.agent.protocol import Refused

_COMMAND_S = 30.0


class Item:
    """One thing that shall be on the host. `kind` and `key` name it in the manifest."""

    kind = ""

    def __init__(self, key: str) -> None:
        self.key = key

    def change(self, manifest: Manifest) -> str | None:
        """Return what apply() would do, in words; None: nothing. Raises Refused where it must not be done."""
        raise NotImplementedError

    def claim(self, manifest: Manifest) -> None:
        """Enter in the manifest what apply() is about to make. What was there before is not ours."""
        raise NotImplementedError

    def apply(self) -> None:
        """Make it so. It may be half made already."""
        raise NotImplementedError

    def settle(self, manifest: Manifest) -> None:
        """Enter in the manifest that it was made."""


class Directory(Item):
    """A directory of root's with this mode; its group may come to be only before it is made."""

    kind = "directory"

    def __init__(self, key: str, mode: int = 0o755, *, group: str = "root") -> None:
        super().__init__(key)
        self._mode = mode
        self._group = group

    def change(self, manifest: Manifest) -> str | None:
        owner = "root" if self._group == "root" else f"root:{self._group}"
        if not os.path.lexists(self.key):
            return f"make directory {self.key} ({owner}, {self._mode:04o})"
        refuse_unsafe(self.key)
        if manifest.find(self.kind, self.key) is None or self._is_so():
            return None
        return f"set owner and mode of directory {self.key} ({owner}, {self._mode:04o})"

    def _is_so(self) -> bool:
        status = os.lstat(self.key)
        group = grp.getgrgid(status.st_gid).gr_name
        return (group, stat.S_IMODE(status.st_mode)) == (self._group, self._mode)

    def claim(self, manifest: Manifest) -> None:
        if not os.path.lexists(self.key):
            manifest.add(self.kind, self.key)

    def apply(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.key, 0o700)
        os.chown(self.key, 0, grp.getgrnam(self._group).gr_gid)
        os.chmod(self.key, self._mode)
        sync_directory(os.path.dirname(self.key))


class File(Item):
    """A file of root's with this content and mode. overwrite: even one that was changed by hand."""

    kind = "file"

    def __init__(self, key: str, content: bytes, mode: int, *, overwrite: bool = False) -> None:
        super().__init__(key)
        self.content = content
        self.mode = mode
        self._overwrite = overwrite
        self._sha256 = sha256_of(content)

    def change(self, manifest: Manifest) -> str | None:
        verb = self._verb(manifest)
        return (
            verb
            and f"{verb} {self.key} (root, {self.mode:04o}, {len(self.content)} bytes, sha256 {self._sha256})"
        )

    def _verb(self, manifest: Manifest) -> str | None:
        current = read_regular(self.key)
        record = manifest.find(self.kind, self.key)
        if current is None:
            return "write"
        if current == self.content:
            if not has_mode(self.key, self.mode):
                return "set owner and mode of"
            if record is None:
                return "take over"
            return None if record["done"] else "finish"
        ours = record is not None and sha256_of(current) in record["sha256"]
        if not ours and not self._overwrite:
            raise Refused(f"{self.key} was not left so by relayctl: move it away, or give --overwrite")
        return "replace" if ours else "overwrite, with what was changed by hand,"

    def claim(self, manifest: Manifest) -> None:
        record = manifest.add(self.kind, self.key)
        # Until the new content is in place, the old one must still be known as ours.
        record["sha256"] = sorted({*record.get("sha256", []), self._sha256})
        record["done"] = False

    def apply(self) -> None:
        write_file(self.key, self.content, self.mode)

    def settle(self, manifest: Manifest) -> None:
        record = manifest.find(self.kind, self.key)
        if record is not None:
            record.update(sha256=[self._sha256], done=True)


class User(Item):
    """A system user with a group of the same name, whom nobody can log in as but by a key.

    home: a directory of root's. Where it is missing, sshd complains into every session.
    """

    kind = "user"

    def __init__(self, key: str, *, home: str) -> None:
        super().__init__(key)
        self._home = home

    def change(self, manifest: Manifest) -> str | None:
        try:
            user = pwd.getpwnam(self.key)
        except KeyError:
            return f"make system user {self.key} (no password, shell /bin/sh, home {self._home})"
        if user.pw_uid == 0:
            raise Refused(f"user {self.key} is root")
        return None

    def claim(self, manifest: Manifest) -> None:
        if not user_exists(self.key):
            manifest.add(self.kind, self.key)

    def apply(self) -> None:
        if user_exists(self.key):
            return
        # "*" rather than useradd's "!": with UsePAM no, sshd takes "!" for a locked account.
        flags = ["--system", "--user-group", "--no-create-home", "--home-dir", self._home]
        command(
            "useradd", *flags, "--shell", "/bin/sh", "--password", "*", "--comment", "Relay Fleet", self.key
        )


class Member(Item):
    """A user's membership of a group, where the host has that group; key is "user:group"."""

    kind = "member"

    def __init__(self, user: str, group: str) -> None:
        super().__init__(f"{user}:{group}")
        self._user = user
        self._group = group

    def change(self, manifest: Manifest) -> str | None:
        return (
            f"add {self._user} to group {self._group}"
            if _is_member(self._user, self._group) is False
            else None
        )

    def claim(self, manifest: Manifest) -> None:
        if _is_member(self._user, self._group) is False:
            manifest.add(self.kind, self.key)

    def apply(self) -> None:
        if _is_member(self._user, self._group) is False:
            command("usermod", "--append", "--groups", self._group, self._user)


class Timer(Item):
    """A timer of systemd's, enabled and started; its files are there already. key: the unit's name."""

    kind = "timer"

    def change(self, manifest: Manifest) -> str | None:
        made = manifest.find(self.kind, self.key) is not None
        if made and _unit_is("enabled", self.key) and _unit_is("active", self.key):
            return None
        return f"enable and start {self.key}"

    def claim(self, manifest: Manifest) -> None:
        manifest.add(self.kind, self.key)

    def apply(self) -> None:
        command("systemctl", "enable", "--now", self.key)


def removal(record: dict[str, Any]) -> tuple[str, bool]:
    """Return what take_away() would do with a manifest's record, in words, and whether it would remove it."""
    kind, key = record["kind"], record["key"]
    if kind == "file":
        return _removal_of_file(key, record["sha256"])
    if kind == "directory":
        return f"remove directory {key} where it is empty", True
    if kind == "user":
        return f"remove user {key}", True
    if kind == "timer":
        return f"stop and disable {key}", True
    user, _, group = key.partition(":")
    return f"remove {user} from group {group}", True


def _removal_of_file(path: str, written: list[str]) -> tuple[str, bool]:
    current = read_regular(path)
    if current is None:
        return f"{path} is gone already", True
    if sha256_of(current) not in written:
        return f"keep {path}: it was changed by hand", False
    return f"remove {path}", True


def take_away(record: dict[str, Any]) -> None:
    """Remove what a manifest's record names. It may be gone already."""
    kind, key = record["kind"], record["key"]
    if kind == "file":
        for path in [*glob.glob(glob.escape(temporary(key)) + "*"), key]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    elif kind == "directory":
        with contextlib.suppress(OSError):
            os.rmdir(key)
    elif kind == "user":
        if user_exists(key):
            command("userdel", key)
    elif kind == "timer":
        _end_timer(key)
    else:
        user, _, group = key.partition(":")
        if user_exists(user) and _is_member(user, group):
            command("gpasswd", "--delete", user, group)


def _end_timer(key: str) -> None:
    """Stop a timer, and what it may just have started, and disable it; systemd may no longer run here."""
    if _unit_is("active", key):
        command("systemctl", "stop", key, f"{os.path.splitext(key)[0]}.service")
    if _unit_is("enabled", key):
        command("systemctl", "disable", key)


def _unit_is(state: str, unit: str) -> bool:
    """Ask systemd whether a unit is `active` or `enabled`; where there is no systemctl it is not."""
    try:
        arguments = [children.find_program("systemctl"), "--quiet", f"is-{state}", unit]
    except children.NotInstalled:
        return False
    return children.output(arguments, timeout_s=_COMMAND_S)[0].status == 0


def command(name: str, *arguments: str) -> None:
    """Run a program of the system; raise Refused with what it said where it fails."""
    result, text = children.output([children.find_program(name), *arguments], timeout_s=_COMMAND_S)
    if result.status != 0:
        raise Refused(f"{name} failed: {(result.stderr or text).strip()}")


def _is_member(user: str, group: str) -> bool | None:
    """Tell whether a user is in a group, None where there is no such group."""
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return None


def user_exists(name: str) -> bool:
    """Tell whether the host knows this user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def read_regular(path: str) -> bytes | None:
    """Return a file's content, None where there is nothing; raise Refused where it is no plain file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is not a plain file")
    with open(path, "rb") as file:
        return file.read()


def has_mode(path: str, mode: int) -> bool:
    """Tell whether a file is root's and has this mode."""
    status = os.lstat(path)
    return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, mode)


def refuse_unsafe(directory: str) -> None:
    """Raise Refused where somebody but root could change what is in a directory."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & stat.S_IWOTH:
        raise Refused(f"{directory} must be a directory of root's that others cannot write to")
