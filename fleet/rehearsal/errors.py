"""What can go wrong with a rehearsal fleet. The text is one line for the operator."""


class RehearsalError(Exception):
    """Root of this family."""


class Unsuitable(RehearsalError):
    """This machine or this user cannot run a rehearsal fleet; the text names the remedy."""


class NotUp(RehearsalError):
    """There is no fleet of that name, or the part that was asked for is down."""


class DidNotStart(RehearsalError):
    """A part did not come up within its time; the text ends with what it said last."""
