"""The form that starts a ramp, and the one that edits the rest of its schedule."""

from collections.abc import Iterator
from datetime import time, timedelta
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.utils import timezone

from dns.domain.ramp import RAILS, Guardrails
from dns.domain.schedule import BadSchedule, Step
from dns.models import RelayName
from dns.services import ramp_schedules
from dns.services.ramps import Wish

_PLAIN = {"class": "form-control", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
_SELECT = {"class": "form-select"}
_RAIL = "rail_"
_OWN = ramp_schedules.OWN
# More text than this is no table of 400 days.
_MAX_TABLE = 10_000


class Group(NamedTuple):
    """Fields under one heading. is_open: shown at once."""

    title: str
    hint: str
    fields: list[forms.BoundField]
    is_open: bool


def _schedules() -> list[tuple[str, str]]:
    published = [(one.id, f"{one.name}: {one.source}") for one in ramp_schedules.presets().values()]
    curves = [(kind, f"{kind} curve, as below") for kind in ramp_schedules.CURVES]
    return [*published, *curves, (_OWN, "my own table, below")]


def _number(label: str, least: float, most: float, hint: str = "", **more: Any) -> forms.FloatField:
    return forms.FloatField(
        label=label,
        min_value=least,
        max_value=most,
        help_text=hint,
        localize=False,
        widget=forms.NumberInput(attrs=_PLAIN | {"step": "any"}),
        **more,
    )


def _whole(label: str, least: int, most: int, **more: Any) -> forms.IntegerField:
    widget = forms.NumberInput(attrs=_PLAIN)
    return forms.IntegerField(
        label=label, min_value=least, max_value=most, localize=False, widget=widget, **more
    )


class RampForm(forms.Form):
    """A ramp as somebody wants it. Shares are percent here."""

    relay_name = forms.ModelChoiceField(RelayName.objects.all(), widget=forms.Select(attrs=_SELECT))
    address = forms.CharField(max_length=60, widget=forms.TextInput(attrs=_PLAIN | {"list": "addresses"}))
    schedule = forms.ChoiceField(widget=forms.Select(attrs=_SELECT))
    largest = _number(
        "Greatest share, %", 0.1, 99.9, "A schedule that asks for more stays at this.",
        initial=50,
    )  # fmt: skip
    days = _whole("Days", 2, 400, required=False, initial=14)
    first_share = _number("First day, %", 0.001, 100, required=False)
    last_share = _number("Last day, %", 0.001, 100, required=False)
    first_cap = _whole("First day, messages", 1, 100_000_000, required=False)
    last_cap = _whole("Last day, messages", 1, 100_000_000, required=False)
    table = forms.CharField(
        required=False,
        max_length=_MAX_TABLE,
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 5}),
        help_text="A line a day: 5 %, or 2000 messages, or both: 5 % 2000.",
    )
    start_date = forms.DateField(
        label="First date", widget=forms.DateInput(attrs=_PLAIN | {"type": "date"}, format="%Y-%m-%d")
    )
    time_zone = forms.CharField(
        max_length=64, widget=forms.TextInput(attrs=_PLAIN), help_text="For example Europe/Berlin."
    )
    opens = forms.TimeField(
        label="Decides from",
        initial=time(9),
        widget=forms.TimeInput(attrs=_PLAIN | {"type": "time"}, format="%H:%M"),
    )
    closes = forms.TimeField(
        label="Decides until",
        required=False,
        widget=forms.TimeInput(attrs=_PLAIN | {"type": "time"}, format="%H:%M"),
        help_text="Empty: until the end of the date.",
    )
    reason = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="It stands in the audit trail.",
    )
    # What the preview showed: only that is started.
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        schedule = self.fields["schedule"]
        assert isinstance(schedule, forms.ChoiceField)  # noqa: S101 - for the type checker
        schedule.choices = _schedules()
        self.fields["start_date"].initial = (timezone.localtime() + timedelta(days=1)).date()
        self.fields["time_zone"].initial = settings.TIME_ZONE
        defaults = Guardrails()
        for name, (title, source) in RAILS.items():
            self.fields[_RAIL + name] = _rail(title, source, getattr(defaults, name))

    def groups(self) -> Iterator[Group]:
        """Yield the fields by what they are about."""
        rails = [name for name in self.fields if name.startswith(_RAIL)]
        curve = ["days", "first_share", "last_share", "first_cap", "last_cap"]
        changed = any(self[name].errors for name in rails)
        asked = self["schedule"].value()
        yield self._group("What", "", ["relay_name", "address", "schedule", "largest"])
        yield self._group(
            "Curve", "Shares, messages, or both: from the first day to the last.", curve,
            is_open=asked in ramp_schedules.CURVES,
        )  # fmt: skip
        yield self._group("My own table", "", ["table"], is_open=asked == _OWN)
        yield self._group("When", "", ["start_date", "time_zone", "opens", "closes"])
        yield self._group("Guard rails", "What a day must show before the next step.", rails, is_open=changed)

    def _group(self, title: str, hint: str, names: list[str], *, is_open: bool = True) -> Group:
        fields = [self[name] for name in names]
        return Group(title, hint, fields, is_open or any(field.errors for field in fields))

    def wish(self) -> Wish:
        """Return the ramp of valid fields. Raises BadSchedule."""
        data = self.cleaned_data
        chosen = self._chosen()
        return Wish(
            relay_name=data["relay_name"],
            address=data["address"],
            schedule_name=chosen.name,
            source=chosen.source,
            steps=chosen.steps,
            start_date=data["start_date"],
            largest=data["largest"] / 100,
            time_zone=data["time_zone"],
            opens=data["opens"],
            closes=data["closes"],
            rails=self._rails(),
        )

    def _chosen(self) -> ramp_schedules.Chosen:
        data = self.cleaned_data
        kind = data["schedule"]
        if kind == _OWN:
            return ramp_schedules.own(data["table"])
        if kind not in ramp_schedules.CURVES:
            return ramp_schedules.preset(kind)
        if data["days"] is None:
            raise BadSchedule("Say how many days the curve has.")
        first, last = (_step(data[f"{end}_share"], data[f"{end}_cap"]) for end in ("first", "last"))
        return ramp_schedules.curve(kind, days=data["days"], first=first, last=last)

    def _rails(self) -> dict[str, float]:
        """Return the guard rails that were given; those left empty have their defaults."""
        given: dict[str, float] = {}
        for name in RAILS:
            value = self.cleaned_data.get(_RAIL + name)
            if value is not None:
                given[name] = value / 100 if _is_share(name) else value
        return given


def _step(share: float | None, cap: int | None) -> Step:
    return Step(None if share is None else share / 100, cap)


def _is_share(name: str) -> bool:
    return isinstance(getattr(Guardrails(), name), float)


def _rail(title: str, source: str, default: float) -> forms.Field:
    if isinstance(default, float):
        return _number(f"{title}, %", 0, 100, source, required=False, initial=round(100 * default, 4))
    return _whole(title, 0, 100_000_000, required=False, initial=default, help_text=source)


class RestForm(forms.Form):
    """The days after the one that holds now, and why they change."""

    table = forms.CharField(
        max_length=_MAX_TABLE,
        label="The days that come",
        widget=forms.Textarea(attrs=_PLAIN | {"rows": 14}),
        help_text="A line a day: 5 %, or 2000 messages, or both: 5 % 2000.",
    )
    reason = forms.CharField(
        max_length=300, widget=forms.TextInput(attrs=_PLAIN), help_text="It stands in the audit trail."
    )
