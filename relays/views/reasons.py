"""Pages over reasons: what each stands for, the rules that give them, and the replies no rule knows."""

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from relays.domain.reasons import FAULTS
from relays.forms.reasons import ReasonRuleForm
from relays.models import ReasonRule, ReplyCluster
from relays.selectors import reasons as read
from relays.services.reasons import Reclassified, rule_remove, rule_save, shipped_table
from relays.views.actors import actor_of
from relays.views.recent import recently_authenticated

_HARD = {None: "", True: "hard", False: "soft"}


@require_safe
@permission_required("relays.view_reasonrule", raise_exception=True)
def reason_list(request: HttpRequest) -> HttpResponse:
    """List all reasons with how often each was heard, and the replies that no rule knows."""
    now = timezone.now()
    context = {"rows": read.reason_rows(now), "unknown": read.unclassified(now)}
    return render(request, "relays/reason_list.html", context)


@require_safe
@permission_required("relays.view_reasonrule", raise_exception=True)
def reason_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what a reason stands for, what to do about it, and the replies that had it."""
    table = shipped_table()
    if slug not in table.reasons:
        raise Http404
    reason = table.reasons[slug]
    context = {
        "reason": reason,
        "fault": FAULTS[reason.fault],
        "action": table.actions[reason.action],
        "clusters": read.clusters_of(slug, timezone.now()),
        "rules": read.rules_of(slug),
    }
    return render(request, "relays/reason_detail.html", context)


@require_safe
@permission_required("relays.view_reasonrule", raise_exception=True)
def rule_list(request: HttpRequest) -> HttpResponse:
    """List the rules in the order in which they are tried."""
    context = {
        "own": read.own_rules(),
        "shipped": read.shipped_rules(),
        "version": shipped_table().version,
    }
    return render(request, "relays/reason_rules.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.add_reasonrule", raise_exception=True)
def rule_add(request: HttpRequest) -> HttpResponse:
    """Add an own rule, or see what it would do; ?cluster= fills the form in from a reply."""
    cluster = ReplyCluster.objects.filter(digest=request.GET.get("cluster", "")).first()
    initial = read.suggested_rule(cluster) if cluster else {}
    form = ReasonRuleForm(request.POST or None, initial=initial)
    return _try_or_save(request, form, ReasonRule(), {"title": "Add a rule", "cluster": cluster})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.change_reasonrule", raise_exception=True)
def rule_change(request: HttpRequest, slug: str) -> HttpResponse:
    """Change an own rule, or see what the change would do."""
    rule = get_object_or_404(ReasonRule, slug=slug)
    initial = {name: getattr(rule, name) for name in ReasonRuleForm.base_fields} | {"hard": _HARD[rule.hard]}
    form = ReasonRuleForm(request.POST or None, initial=initial)
    return _try_or_save(request, form, rule, {"title": f"Change {slug}", "rule": rule})


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("relays.delete_reasonrule", raise_exception=True)
@recently_authenticated()
def rule_remove_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Forget an own rule."""
    rule = get_object_or_404(ReasonRule, slug=slug)
    if request.method != "POST":
        return render(request, "relays/reason_rule_remove.html", {"rule": rule})
    messages.success(request, f"{slug} was removed. {_told(rule_remove(rule=rule, actor=actor_of(request)))}")
    return redirect("relays:reason-rules")


def _try_or_save(
    request: HttpRequest, form: ReasonRuleForm, rule: ReasonRule, context: dict[str, object]
) -> HttpResponse:
    if form.is_valid():
        for name, value in form.cleaned_data.items():
            setattr(rule, name, value)
        try:
            if "try" not in request.POST:
                messages.success(
                    request, f"{rule.slug} was saved. {_told(rule_save(rule=rule, actor=actor_of(request)))}"
                )
                return redirect("relays:reason-rules")
            context["trial"] = read.trial(rule, timezone.now())
        except ValidationError as error:
            for field, texts in error.message_dict.items():
                form.add_error(field if field in form.fields else None, texts)
    return render(request, "relays/reason_rule_form.html", context | {"form": form})


def _told(done: Reclassified) -> str:
    changed = (
        f"{done.changed:,} repl{'y text has' if done.changed == 1 else 'y texts have'} another reason now."
    )
    return f"{changed} {done.left:,} more are looked at within minutes." if done.left else changed
