"""The form that gives a recipient domain to a provider."""

from django import forms

from relays.models import Provider


class DomainProviderForm(forms.Form):
    """Whose domain it is; empty: what its relay host tells."""

    provider = forms.ModelChoiceField(
        queryset=Provider.objects.all(), required=False, to_field_name="slug", empty_label=None
    )
