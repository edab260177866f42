"""The question of a trace, as its form shows it."""

from datetime import datetime, timedelta

from django import forms
from django.http import QueryDict

from relays.domain.trace_question import (
    KINDS,
    MAX_TEXT,
    OF_PEOPLE,
    BadQuestion,
    Question,
    moment,
    question,
)

_PLAIN = {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}
_DEFAULT_SPAN = "24h"
_RECIPIENT, _MESSAGE_ID = "anna@hotmail.com", "20261128.4711@lists.example"


class TraceForm(forms.Form):
    """What is looked for, and in which span."""

    kind = forms.ChoiceField(label="Look for", widget=forms.Select(attrs={"class": "form-select"}))
    text = forms.CharField(
        label="Which",
        max_length=MAX_TEXT + 2,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN | {"autofocus": True}),
    )
    since = forms.CharField(
        label="From",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN | {"placeholder": _DEFAULT_SPAN}),
    )
    until = forms.CharField(
        label="To",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN | {"placeholder": "now"}),
    )

    def __init__(
        self, data: QueryDict | None = None, *, may_see: bool, initial: QueryDict | None = None
    ) -> None:
        given = {name: value for name, value in (initial or {}).items() if name in self.base_fields}
        super().__init__(data, initial={"since": _DEFAULT_SPAN, **given})
        kinds = [(kind, words) for kind, words in KINDS.items() if may_see or kind not in OF_PEOPLE]
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined]
        self.fields["text"].widget.attrs["placeholder"] = _RECIPIENT if may_see else _MESSAGE_ID

    def question(self, now: datetime) -> Question | None:
        """Return the question that was asked; None, with errors in the form, where it is none."""
        if not self.is_valid():
            return None
        given = self.cleaned_data
        zone = now.tzinfo
        assert zone is not None  # noqa: S101 - for the type checker
        try:
            since = moment(given["since"] or _DEFAULT_SPAN, now, zone)
            # To the end of this minute: what is written while it is asked is found.
            until = moment(given["until"], now, zone) if given["until"] else now + timedelta(minutes=1)
            return question(given["kind"], given["text"], int(since.timestamp()), int(until.timestamp()))
        except BadQuestion as error:
            self.add_error(None, str(error))
            return None
