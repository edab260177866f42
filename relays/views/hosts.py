"""Pages over relay hosts."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from relays.domain.words import visible
from relays.forms.hosts import HostAddForm, HostChangeForm, HostKeyForm, HostRemoveForm
from relays.models import Host
from relays.remote.errors import RemoteError
from relays.remote.keys import BadHostKey, fingerprint
from relays.selectors.hosts import host_page, host_rows
from relays.selectors.instances import instance_rows
from relays.selectors.onboarding import onboarding, relayctl_file
from relays.services import hosts
from relays.services.doctor import examine
from relays.views.actors import actor_of
from relays.views.recent import recently_authenticated


@require_safe
@permission_required("relays.view_host", raise_exception=True)
def host_list(request: HttpRequest) -> HttpResponse:
    """List all hosts; an empty fleet gets the steps to its first."""
    rows = host_rows(timezone.now())
    return render(
        request, "relays/host_list.html", {"hosts": rows, "onboarding": None if rows else onboarding()}
    )


@require_safe
@permission_required("relays.view_host", raise_exception=True)
def host_detail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one host: its state, its instances, its doctor."""
    host = get_object_or_404(Host, name=name)
    now = timezone.now()
    context = {
        "page": host_page(host, now),
        "instances": instance_rows(host.instances.filter(removed_at=None), now),
        "removed": instance_rows(host.instances.exclude(removed_at=None), now),
        "key_fingerprint": _fingerprint(host.host_key),
        "current_sha256": relayctl_file().sha256,
    }
    return render(request, "relays/host_detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.add_host", raise_exception=True)
def host_add(request: HttpRequest) -> HttpResponse:
    """Add a host in two steps: show the key it offers, then pin the one that was accepted."""
    form = HostAddForm(request.POST or None)
    context = {"form": form, "onboarding": onboarding()}
    if not form.is_valid():
        return render(request, "relays/host_add.html", context)
    if not form.cleaned_data["host_key"]:
        return _offer_key(request, form, context)
    try:
        host = hosts.host_add(actor=actor_of(request), **form.cleaned_data)
    except ValidationError as error:
        _take_errors(form, error)
        return render(request, "relays/host_add.html", context)
    messages.success(request, f"{host.name} was added; its first poll is under way.")
    return redirect("relays:host", host.name)


def _offer_key(request: HttpRequest, form: HostAddForm, context: dict[str, object]) -> HttpResponse:
    values = form.cleaned_data
    if Host.objects.filter(name=values["name"]).exists():
        form.add_error("name", "Another host has this name.")
        return render(request, "relays/host_add.html", context)
    try:
        key = hosts.probe(ssh_address=values["ssh_address"], ssh_port=values["ssh_port"])
    except RemoteError as error:
        form.add_error("ssh_address", visible(str(error)))
        return render(request, "relays/host_add.html", context)
    except ValidationError as error:
        _take_errors(form, error)
        return render(request, "relays/host_add.html", context)
    context |= {"values": values, "host_key": key, "key_fingerprint": fingerprint(key)}
    return render(request, "relays/host_accept.html", context)


@require_POST
@permission_required("relays.examine_host", raise_exception=True)
def host_doctor(request: HttpRequest, name: str) -> HttpResponse:
    """Talk to the host now and show every precondition. POST, so that nothing follows it by itself."""
    host = get_object_or_404(Host, name=name)
    template = "relays/_doctor.html" if request.headers.get("HX-Request") else "relays/host_doctor.html"
    context = {"host": host, "checks": examine(host), "at": timezone.localtime()}
    return render(request, template, context)


@require_POST
@permission_required("relays.poll_host", raise_exception=True)
def host_poll(request: HttpRequest, name: str) -> HttpResponse:
    """Make the host's next poll due now."""
    host = get_object_or_404(Host, name=name)
    if host.enabled:
        hosts.poll_soon(host=host)
        messages.success(request, f"{host.name} will be polled at once.")
    else:
        messages.error(request, f"{host.name} is switched off: it is not polled.")
    return redirect("relays:host", host.name)


@require_POST
@permission_required("relays.change_host", raise_exception=True)
def host_switch(request: HttpRequest, name: str) -> HttpResponse:
    """Switch polling of a host on or off: `on` is 1 or 0."""
    host = get_object_or_404(Host, name=name)
    host = hosts.host_change(host=host, enabled=request.POST.get("on") == "1", actor=actor_of(request))
    messages.success(request, f"{host.name} is switched {'on' if host.enabled else 'off'}.")
    return redirect("relays:host", host.name)


@require_POST
@permission_required("relays.allow_bodies", raise_exception=True)
@recently_authenticated(back="relays:host")
def host_bodies(request: HttpRequest, name: str) -> HttpResponse:
    """Allow bodies of the host's messages to be read, or no more: `on` is 1 or 0."""
    host = get_object_or_404(Host, name=name)
    allowed = request.POST.get("on") == "1"
    host = hosts.host_allow_bodies(host=host, allowed=allowed, actor=actor_of(request))
    may = "may be read now" if allowed else "may not be read any more"
    messages.success(request, f"Bodies of messages on {host.name} {may}.")
    return redirect("relays:host", host.name)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_host", raise_exception=True)
@recently_authenticated()
def host_key(request: HttpRequest, name: str) -> HttpResponse:
    """Show the accepted key and the offered one side by side; accept the offered one."""
    host = get_object_or_404(Host, name=name)
    form = HostKeyForm(request.POST or None)
    if form.is_valid():
        return _accept_key(request, host, form)
    context = {
        "host": host,
        "accepted": _fingerprint(host.host_key),
        "offered": _fingerprint(host.offered_key),
    }
    return render(request, "relays/host_key.html", context)


def _accept_key(request: HttpRequest, host: Host, form: HostKeyForm) -> HttpResponse:
    # What was compared must be what is offered still: the page may have been open for an hour.
    if form.cleaned_data["host_key"] != host.offered_key:
        messages.error(request, f"{host.name} offers another key by now: compare again.")
        return redirect("relays:host-key", host.name)
    hosts.host_accept_key(host=host, host_key=host.offered_key, actor=actor_of(request))
    messages.success(request, f"The new key of {host.name} was accepted; a poll is under way.")
    return redirect("relays:host", host.name)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_host", raise_exception=True)
@recently_authenticated()
def host_change(request: HttpRequest, name: str) -> HttpResponse:
    """Change where and how often a host is reached."""
    host = get_object_or_404(Host, name=name)
    fields = ("name", "ssh_address", "ssh_port", "ssh_user", "poll_interval_s")
    form = HostChangeForm(request.POST or None, initial={field: getattr(host, field) for field in fields})
    if form.is_valid():
        values = form.cleaned_data | {"poll_interval_s": form.cleaned_data["poll_interval_s"] or 0}
        try:
            host = hosts.host_change(host=host, actor=actor_of(request), **values)
        except ValidationError as error:
            _take_errors(form, error)
        else:
            messages.success(request, f"{host.name} was changed.")
            return redirect("relays:host", host.name)
    return render(request, "relays/host_change.html", {"name": name, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.delete_host", raise_exception=True)
@recently_authenticated()
def host_remove(request: HttpRequest, name: str) -> HttpResponse:
    """Forget a host and its history, once its name was typed."""
    host = get_object_or_404(Host, name=name)
    form = HostRemoveForm(request.POST or None)
    if form.is_valid():
        if form.cleaned_data["name"] == host.name:
            hosts.host_remove(host=host, actor=actor_of(request))
            messages.success(request, f"{name} was removed.")
            return redirect("relays:host-list")
        form.add_error("name", f"This is not its name, {host.name}: nothing was removed.")
    return render(
        request, "relays/host_remove.html", {"host": host, "form": form, "instances": host.instances.count()}
    )


def _fingerprint(key: str) -> str:
    """Return a key's fingerprint; "" for none. A host may offer what is no key at all."""
    try:
        return fingerprint(key) if key else ""
    except BadHostKey as error:
        return visible(f"no key: {error}")


def _take_errors(form: HostAddForm | HostChangeForm, error: ValidationError) -> None:
    """Show a service's refusal beside the field it names; host_key has none that is seen."""
    for field, texts in error.message_dict.items():
        form.add_error(field if field in form.fields and field != "host_key" else None, texts)
