"""Forms over origins: addresses as lines, because that is how they are pasted."""

from django import forms

from relays.models import Origin

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class OriginForm(forms.Form):
    """An origin with all its client addresses."""

    name = forms.CharField(
        max_length=253,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="What the console calls it, say its host name.",
    )
    addresses = forms.CharField(
        max_length=100_000,
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 6}),
        help_text=(
            "The IP addresses its mail comes from, as the relays see them, one a line. "
            "An address belongs to one origin."
        ),
    )

    def clean_addresses(self) -> list[str]:
        """Return the addresses as a list."""
        return str(self.cleaned_data["addresses"]).replace(",", " ").split()


class AdoptForm(forms.Form):
    """Into which origin a client goes; none: a new one that is called as the client is."""

    origin = forms.ModelChoiceField(queryset=Origin.objects.all(), required=False)
