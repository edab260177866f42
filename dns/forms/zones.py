"""Forms over zones. A secret goes in and never comes back out."""

from typing import Any

from django import forms

from dns.models import Method, Zone
from dns.publishing.rfc2136 import ALGORITHMS
from relays.models import Origin

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
_MAX_LINES = 4_000


class ZoneForm(forms.Form):
    """How a zone is written, on which servers that is verified, and which of its names we may touch."""

    name = forms.CharField(
        max_length=253,
        label="Zone",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="The zone that holds the relay names, say smtp.example.org.",
    )
    method = forms.ChoiceField(
        choices=Method.choices,
        label="Written by",
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text="By hand: a plan shows the records, and waits until somebody has written them.",
    )
    servers = forms.CharField(
        max_length=_MAX_LINES,
        label="Name servers",
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 3}),
        help_text="Every authoritative one, by address, one a line: 192.0.2.53 or 192.0.2.53:5300. Each is "
        "verified after a change.",
    )
    primary = forms.CharField(
        max_length=80,
        required=False,
        label="Server that takes updates",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="The first of them if left out.",
    )
    allowed_names = forms.CharField(
        max_length=_MAX_LINES,
        label="Names that we may write",
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 3}),
        help_text="One a line, with the names under it: msn.smtp.example.org. No other is ever written.",
    )
    tsig_name = forms.CharField(
        max_length=253,
        required=False,
        label="TSIG key: name",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="For dynamic updates.",
    )
    tsig_algorithm = forms.ChoiceField(
        choices=[(name, name) for name in ALGORITHMS],
        initial="hmac-sha256",
        label="TSIG key: algorithm",
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    api_url = forms.CharField(
        max_length=200,
        required=False,
        label="PowerDNS API",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="For PowerDNS: http://192.0.2.53:8081.",
    )
    secret = forms.CharField(
        max_length=500,
        required=False,
        widget=forms.PasswordInput(attrs={"class": "form-control", "autocomplete": "new-password"}),
        help_text="The TSIG key's secret (base64), or the API key. It is sealed, and never shown again.",
    )
    origins = forms.ModelMultipleChoiceField(
        queryset=Origin.objects.all(),
        required=False,
        label="Origins",
        widget=forms.CheckboxSelectMultiple,
        help_text="Who hands mail to its relay names; none: every origin.",
    )

    def __init__(self, *args: Any, zone: Zone | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if zone is None:
            return
        # Another name would be another zone.
        del self.fields["name"]
        if zone.sealed_secret:
            self.fields["secret"].help_text = (
                "Left empty, the one that is known stays. It is never shown, and is given again where the "
                "way of writing or the API's address changes."
            )

    def clean_name(self) -> str:
        """Refuse a zone that is there: adding it again would take its settings away."""
        name: str = self.cleaned_data["name"].strip().rstrip(".").lower()
        if Zone.objects.filter(name=name).exists():
            raise forms.ValidationError(f"{name} is there already: change it.")
        return name

    def clean_servers(self) -> list[str]:
        """Return the servers as a list."""
        return _words(self.cleaned_data["servers"])

    def clean_allowed_names(self) -> list[str]:
        """Return the names as a list."""
        return _words(self.cleaned_data["allowed_names"])

    def clean_secret(self) -> str | None:
        """Return what was typed, None for the one that is known."""
        return self.cleaned_data["secret"] or None


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
