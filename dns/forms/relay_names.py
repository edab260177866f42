"""Forms over relay names."""

from typing import Any

from django import forms

from dns.domain.weights import Rendering
from dns.models import RelayName
from relays.models import Provider

_NUMBER = {"class": "form-control", "autocomplete": "off"}


class RelayNameForm(forms.Form):
    """What is set of a relay name besides its weights."""

    rendering = forms.ChoiceField(
        choices=[(one.value, one.value) for one in Rendering],
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text="mx: weights on any server. lua: PowerDNS draws. equal: the same for each address.",
    )
    ttl = forms.IntegerField(
        label="TTL in seconds",
        widget=forms.NumberInput(attrs=_NUMBER),
        help_text="60 to 3600; lua from 1: one answer of it serves all mail for so long.",
    )
    min_warm = forms.IntegerField(
        label="Warm addresses that are always published",
        widget=forms.NumberInput(attrs=_NUMBER),
        help_text="A change that would leave fewer is refused.",
    )
    provider = forms.ModelChoiceField(
        queryset=Provider.objects.all(),
        required=False,
        empty_label="none",
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text="Whose mail origins hand to it: their transport maps follow from that.",
    )

    def __init__(self, *args: Any, relay_name: RelayName, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(row.address, row.address) for row in relay_name.weights.all()]
        self.fields["warm"] = forms.MultipleChoiceField(
            choices=choices,
            required=False,
            label="Addresses that are warm",
            widget=forms.CheckboxSelectMultiple,
            help_text="The others are warming up: such addresses alone are never published.",
        )
