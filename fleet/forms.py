"""Forms over one's own account."""

from typing import Any

from django import forms

_CODE = {
    "class": "form-control",
    "autocomplete": "one-time-code",
    "autocapitalize": "none",
    "spellcheck": "false",
    "autofocus": True,
}


class OnceInput(forms.TextInput):
    """A field whose text is never given back: it is secret, or of no use a second time."""

    def format_value(self, value: Any) -> None:
        """Give nothing back."""


class CodeForm(forms.Form):
    """A code of the second factor."""

    code = forms.CharField(max_length=40, widget=OnceInput(attrs=_CODE))


class ProofForm(forms.Form):
    """Who is logged in proves it again; the code counts where there is a second factor."""

    password = forms.CharField(
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(
            attrs={"class": "form-control", "autocomplete": "current-password", "autofocus": True}
        ),
    )
    code = forms.CharField(
        max_length=40, required=False, widget=OnceInput(attrs=_CODE | {"autofocus": False})
    )


class TokenForm(forms.Form):
    """An API token that is wanted."""

    name = forms.CharField(
        max_length=60,
        label="What for",
        widget=forms.TextInput(attrs={"class": "form-control form-control-sm", "autocomplete": "off"}),
    )
    scope = forms.ChoiceField(
        label="Tables and charts",
        choices=[
            ("read", "all of them"),
            ("relays.view_instance", "of instances"),
            ("relays.view_provider", "of providers"),
        ],
        widget=forms.Select(attrs={"class": "form-select form-select-sm"}),
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=366,
        initial=90,
        label="Days it counts",
        widget=forms.NumberInput(attrs={"class": "form-control form-control-sm"}),
    )


class SessionForm(forms.Form):
    """Which session ends; none means all."""

    session = forms.IntegerField(required=False, min_value=1, max_value=2**62)
