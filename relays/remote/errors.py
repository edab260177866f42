"""Everything that can go wrong between the console and a relay host, one class for each remedy."""


class RemoteError(Exception):
    """Root of this family.

    The text is for the operator: what happened, with figures; `code` is for programs.
    """

    code = "failed"


class Unreachable(RemoteError):
    """No connection, or none that answered within its deadline."""

    code = "unreachable"


class KeyChanged(RemoteError):
    """The host offered another key than the pinned one; nothing was sent to it."""

    code = "key_changed"

    def __init__(self, message: str, offered_key: str) -> None:
        super().__init__(message)
        self.offered_key = offered_key


class Refused(RemoteError):
    """The host would not let us in, or relayctl refused the request."""

    code = "refused"


class Fenced(Refused):
    """A later claim has acted on the instance; nothing was done for this one."""


class Replayed(Refused):
    """The request's id was used for something else; nothing was done."""


class Locked(RemoteError):
    """Another request has the instance; nothing was done, and the same request may be sent again."""


class Unfinished(RemoteError):
    """The same request began before and left no result: it may or may not have had its effect."""


class Incompatible(RemoteError):
    """What answered is not a relayctl of a version we understand."""

    code = "incompatible"


class Incomplete(RemoteError):
    """The reply stopped before its end line, or went over a cap: nothing of it may be taken for the whole."""

    code = "incomplete"
