"""The filter of a queue page, as its form shows it."""

from collections.abc import Mapping, Sequence

from django import forms

from relays.domain.filters import KEYS, BadFilter, QueueFilter, from_words
from relays.domain.queue import QUEUES

_PLAIN = {"class": "form-control form-control-sm", "autocomplete": "off", "spellcheck": "false"}
_CHOICE = {"class": "form-select form-select-sm"}
# "reply" and "id" come from links, and stand as words above the form.
_FROM_LINKS = ("reply", "id")


def _text(label: str, example: str = "", most: int = 320) -> forms.CharField:
    widget = forms.TextInput(attrs={**_PLAIN, "placeholder": example})
    return forms.CharField(label=label, max_length=most, required=False, widget=widget)


class QueueForm(forms.Form):
    """What messages are looked for."""

    queue = forms.ChoiceField(
        label="Queue",
        required=False,
        choices=[("", "all"), *((queue, queue) for queue in QUEUES)],
        widget=forms.Select(attrs=_CHOICE),
    )
    domain = _text("Recipient domain", "hotmail.com")
    sender_domain = _text("Sender domain")
    sender = _text("Sender", "<> for bounces")
    recipient = _text("Recipient")
    reason = forms.ChoiceField(label="Reason", required=False, widget=forms.Select(attrs=_CHOICE))
    text = _text("Reply has")
    older = _text("Older than", "2h", 20)
    newer = _text("Younger than", "3d", 20)
    larger = _text("Larger than", "500K", 20)
    smaller = _text("Smaller than", "2M", 20)

    def __init__(self, data: Mapping[str, str], *, reasons: Sequence[tuple[str, str]], may_see: bool) -> None:
        super().__init__(data)
        self._given = data
        self.fields["reason"].choices = [("", "any"), *reasons]  # type: ignore[attr-defined]
        if not may_see:
            for name in ("sender", "recipient", "text"):
                del self.fields[name]

    def wanted(self) -> QueueFilter:
        """Return the filter that was asked for. Raises BadFilter."""
        unseen = [name for name in ("sender", "recipient", "text") if name not in self.fields]
        if any(self._given.get(name) for name in unseen):
            raise BadFilter("Only an operator may look for one person's mail")
        return from_words({key: self._given.get(key, "") for key in KEYS})

    @property
    def carried(self) -> list[tuple[str, str]]:
        """What the form does not show and must not lose."""
        return [(key, self._given[key]) for key in _FROM_LINKS if self._given.get(key)]
