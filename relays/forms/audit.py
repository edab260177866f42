"""The filter of the audit trail's page."""

from django import forms


class AuditFilterForm(forms.Form):
    """What the list of events is narrowed to; a field that does not hold is told and asks for nothing."""

    who = forms.CharField(max_length=150, required=False)
    what = forms.CharField(max_length=60, required=False)
    instance = forms.CharField(max_length=63, required=False)
    phase = forms.CharField(max_length=12, required=False)
    operation = forms.IntegerField(required=False, min_value=1)
    since = forms.DateTimeField(required=False)
    until = forms.DateTimeField(required=False)
