"""The form over an own reason rule."""

from django import forms

from relays.services.reasons import shipped_table

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
_CODE = _PLAIN | {"class": "form-control mono"}
_HARD = {"": None, "hard": True, "soft": False}


def _reasons() -> list[tuple[str, str]]:
    reasons = sorted(shipped_table().reasons.values(), key=lambda reason: reason.title)
    return [(reason.slug, reason.title) for reason in reasons]


class ReasonRuleForm(forms.Form):
    """What a reply must be, and the reason it has then; what is left empty always holds."""

    slug = forms.SlugField(
        max_length=50,
        label="Short name",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="What lists and reports call it: letters, digits, hyphens.",
    )
    pattern = forms.CharField(
        required=False,
        max_length=500,
        label="Text",
        widget=forms.TextInput(attrs=_CODE),
        help_text=(
            "A regular expression that is found in the reply; capitals do not matter. Addresses and IPs read "
            "<@> and <ip>. Write .{0,40} where anything may stand between two words."
        ),
    )
    codes = forms.CharField(
        required=False,
        max_length=100,
        label="Reply codes",
        widget=forms.TextInput(attrs=_CODE),
        help_text="421, 45x or 5xx, with commas between. Empty: any.",
    )
    enhanced = forms.CharField(
        required=False,
        max_length=100,
        label="Enhanced codes",
        widget=forms.TextInput(attrs=_CODE),
        help_text="4.7.0 or 5.7.x, with commas between. Empty: any.",
    )
    providers = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="Short names of providers (msn, gmail), with commas between. Empty: any.",
    )
    reason = forms.ChoiceField(choices=_reasons, widget=forms.Select(attrs={"class": "form-select"}))
    hard = forms.ChoiceField(
        required=False,
        label="Hard or soft",
        choices=[("", "as the reason and the code say"), ("hard", "hard"), ("soft", "soft")],
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text="Hard: trying again is no use for this address.",
    )
    position = forms.IntegerField(
        min_value=0,
        max_value=32767,
        initial=100,
        localize=False,
        widget=forms.NumberInput(attrs=_PLAIN),
        help_text="Own rules are tried small first, and all before the shipped ones.",
    )
    note = forms.CharField(
        required=False, max_length=300, widget=forms.TextInput(attrs={"class": "form-control"})
    )
    enabled = forms.BooleanField(
        required=False,
        initial=True,
        label="In use",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    def clean_hard(self) -> bool | None:
        """Return None where the reason and the code are to say it."""
        return _HARD[self.cleaned_data["hard"]]
