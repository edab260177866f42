"""Forms over hosts. What a value must be is the services' to say: these give fields and words."""

from django import forms

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class HostForm(forms.Form):
    """Where a host is reached."""

    name = forms.SlugField(
        max_length=63,
        widget=forms.TextInput(attrs=_PLAIN | {"autofocus": True}),
        help_text="What the console calls it: letters, digits, hyphens.",
    )
    ssh_address = forms.CharField(
        max_length=253,
        label="Address",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="Host name or IP address, as the console reaches it.",
    )
    ssh_port = forms.IntegerField(
        min_value=1,
        max_value=65535,
        initial=22,
        label="SSH port",
        localize=False,
        widget=forms.NumberInput(attrs=_PLAIN),
    )
    ssh_user = forms.CharField(
        max_length=32,
        initial="relay-read",
        label="SSH user",
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="The user that relayctl's install made.",
    )


class HostAddForm(HostForm):
    """Both steps of adding a host: with the key that was offered comes the administrator's yes to it."""

    host_key = forms.CharField(max_length=4096, required=False, widget=forms.HiddenInput)


class HostChangeForm(HostForm):
    """What can be changed of a host; its key has a page of its own."""

    poll_interval_s = forms.IntegerField(
        min_value=10,
        max_value=3600,
        required=False,
        label="Seconds between polls",
        localize=False,
        widget=forms.NumberInput(attrs=_PLAIN),
        help_text="Empty: the fleet's own interval.",
    )


class HostKeyForm(forms.Form):
    """The key that the administrator compared, so that no other is accepted in its place."""

    host_key = forms.CharField(max_length=4096, widget=forms.HiddenInput)


class HostRemoveForm(forms.Form):
    """The host's name, typed: its history goes with it."""

    name = forms.CharField(
        max_length=63,
        label="Type the host's name",
        widget=forms.TextInput(attrs=_PLAIN | {"autofocus": True}),
    )
