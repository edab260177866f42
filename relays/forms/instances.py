"""The form that matches an instance to a provider."""

from django import forms

from relays.models import Provider


class MatchForm(forms.Form):
    """Whose mail an instance carries; empty: what its name says."""

    provider = forms.ModelChoiceField(
        queryset=Provider.objects.all(),
        required=False,
        to_field_name="slug",
        empty_label="by its name",
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text="A choice by hand stays, whatever the inventory says later.",
    )
