"""Forms over operations."""

from django import forms

_PLAIN = {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}


class ConfirmForm(forms.Form):
    """The operator's yes to a plan, and why."""

    plan_hash = forms.CharField(max_length=64, widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs=_PLAIN | {"class": "form-control", "autofocus": True}),
        help_text="It stands in the audit trail, with your name.",
    )
    ticket = forms.CharField(
        max_length=80, required=False, widget=forms.TextInput(attrs=_PLAIN), help_text="If there is one."
    )
    typed_name = forms.CharField(
        max_length=63, required=False, label="Instance's name", widget=forms.TextInput(attrs=_PLAIN)
    )


class FilterForm(forms.Form):
    """What the list of operations is narrowed to."""

    state = forms.CharField(max_length=12, required=False)
    kind = forms.CharField(max_length=40, required=False)
    instance = forms.CharField(max_length=63, required=False)
    who = forms.CharField(max_length=150, required=False)
