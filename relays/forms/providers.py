"""The form over a provider: names as lines, because that is how they are pasted."""

from django import forms

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class ProviderForm(forms.Form):
    """A provider with all its domains and MX suffixes."""

    slug = forms.SlugField(
        max_length=40,
        label="Short name",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="Instances whose names begin with it belong to it: msn for msn-a.",
    )
    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs=_PLAIN))
    position = forms.IntegerField(
        min_value=0,
        max_value=32767,
        initial=100,
        localize=False,
        widget=forms.NumberInput(attrs=_PLAIN),
        help_text="Its place in the matrix, small first.",
    )
    domains = forms.CharField(
        required=False,
        max_length=500_000,
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 12}),
        help_text="Recipient domains, one a line. A domain belongs to one provider.",
    )
    mx_suffixes = forms.CharField(
        required=False,
        max_length=100_000,
        label="MX suffixes",
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 5}),
        help_text="Ends of MX host names that tell its customers' own domains, one a line.",
    )

    def clean_domains(self) -> list[str]:
        """Return the domains as a list."""
        return self._lines("domains")

    def clean_mx_suffixes(self) -> list[str]:
        """Return the suffixes as a list."""
        return self._lines("mx_suffixes")

    def _lines(self, field: str) -> list[str]:
        return str(self.cleaned_data[field]).replace(",", " ").split()
