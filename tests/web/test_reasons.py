"""Pages over reasons and their rules."""

import pytest
from django.test import Client

from relays.models import ReasonRule, ReplyCluster
from relays.services.reasons import reclassify
from tests.factories import host_make, instance_make, provider_make, replies_make, reply_cluster_make

pytestmark = pytest.mark.django_db
FORM = {
    "slug": "mine",
    "pattern": "frobnicated",
    "codes": "",
    "enhanced": "",
    "providers": "",
    "reason": "policy",
    "hard": "",
    "position": "100",
    "note": "",
    "enabled": "on",
}
STRANGE = "550 <address> was frobnicated today (b): <id> <script>alert(1)</script>"


@pytest.fixture
def strange() -> ReplyCluster:
    """A reply that no rule knows, heard 412 times."""
    cluster = reply_cluster_make(STRANGE)
    replies_make(instance_make(host_make(), "msn-a"), cluster, bounced=12, deferred=400)
    reclassify()
    return cluster


@pytest.mark.parametrize(
    ("path", "posts"),
    [
        ("/reasons/", False),
        ("/reasons/mailbox-full/", False),
        ("/reason-rules/", False),
        ("/add-reason-rule/", True),
        ("/reason-rules/mine/change/", True),
        ("/reason-rules/mine/remove/", True),
    ],
)
def test_each_page_takes_its_methods_only_and_nobody_anonymous(
    client: Client, operator: Client, path: str, posts: bool
) -> None:
    ReasonRule.objects.create(slug="mine", reason="policy", pattern="x")
    assert client.get(path)["Location"] == f"/login/?next={path}"
    assert operator.get(path).status_code == 200
    assert (operator.post(path).status_code == 405) is not posts


@pytest.mark.parametrize(
    "path", ["/add-reason-rule/", "/reason-rules/mine/change/", "/reason-rules/mine/remove/"]
)
def test_a_viewer_may_look_and_change_nothing(viewer: Client, path: str) -> None:
    ReasonRule.objects.create(slug="mine", reason="policy", pattern="x")
    assert viewer.post(path, FORM).status_code == 403
    page = viewer.get("/reason-rules/").content.decode()
    assert "mine" in page
    assert path not in page


def test_every_reason_has_a_page_with_its_advice_and_its_replies(
    viewer: Client, strange: ReplyCluster
) -> None:
    page = viewer.get("/reasons/other/").content.decode()
    assert "write a rule" in page
    assert "&lt;script&gt;alert" in page
    assert "412" in page
    assert viewer.get("/reasons/no-such/").status_code == 404


def test_replies_that_no_rule_knows_are_a_to_do(
    operator: Client, viewer: Client, strange: ReplyCluster
) -> None:
    known = reply_cluster_make("552 Mailbox full")
    replies_make(instance_make(host_make("ohara"), "msn-b"), known, deferred=7000)
    reclassify()
    link = f"/add-reason-rule/?cluster={strange.digest}"
    page = operator.get("/reasons/").content.decode()
    assert link in page
    assert known.digest not in page
    assert link not in viewer.get("/reasons/").content.decode()


def test_a_rule_for_a_reply_begins_with_what_does_not_vary_in_it(
    operator: Client, strange: ReplyCluster
) -> None:
    form = operator.get(f"/add-reason-rule/?cluster={strange.digest}").context["form"]
    assert form.initial == {
        "slug": "was-frobnicated-today-b",
        "pattern": r"was frobnicated today \(b\)",
        "codes": "550",
    }


def test_a_rule_can_be_tried_and_nothing_is_saved(operator: Client, strange: ReplyCluster) -> None:
    page = operator.post("/add-reason-rule/", FORM | {"try": "1"}).content.decode()
    assert "It fits 1 of 1 reply texts" in page
    assert "412 replies" in page
    assert "Refused by policy" in page
    assert not ReasonRule.objects.exists()
    strange.refresh_from_db()
    assert strange.reason == "other"


def test_a_change_that_fits_less_is_tried_too(operator: Client, strange: ReplyCluster) -> None:
    operator.post("/add-reason-rule/", FORM)
    page = operator.post("/reason-rules/mine/change/", FORM | {"pattern": "else", "try": "1"})
    assert "It fits 0 of 1 reply texts" in page.content.decode()
    assert [change.becomes for change in page.context["trial"].changes] == ["Unknown"]


def test_saving_a_rule_tells_how_many_texts_changed(operator: Client, strange: ReplyCluster) -> None:
    page = operator.post("/add-reason-rule/", FORM | {"hard": "hard"}, follow=True).content.decode()
    assert "mine was saved. 1 reply text has another reason now." in page
    strange.refresh_from_db()
    assert (strange.reason, strange.hard) == ("policy", True)
    form = operator.get("/reason-rules/mine/change/").context["form"]
    assert form.initial["hard"] == "hard"


@pytest.mark.parametrize("extra", [{}, {"try": "1"}])
def test_a_bad_rule_is_refused_beside_its_field(operator: Client, extra: dict[str, str]) -> None:
    page = operator.post("/add-reason-rule/", FORM | {"pattern": "(a+)+b"} | extra).content.decode()
    assert "very long on a hostile reply" in page
    assert not ReasonRule.objects.exists()


def test_removing_a_rule_gives_the_reply_back_to_the_next(operator: Client, strange: ReplyCluster) -> None:
    provider_make("gmx")
    operator.post("/add-reason-rule/", FORM)
    page = operator.post("/reason-rules/mine/remove/", follow=True).content.decode()
    assert "mine was removed. 1 reply text has another reason now." in page
    strange.refresh_from_db()
    assert strange.reason == "other"
