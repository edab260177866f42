"""Pages over origins, and over clients that wait for adoption."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client as Browser

from relays.models import Client, Origin
from tests.factories import accepted_make, client_make, fleet_make, host_make, instance_make, origins_make

FORM = {"name": "list1.example.org", "addresses": "192.0.2.31\n2001:DB8::31"}
pytestmark = pytest.mark.django_db


def text_of(browser: Browser, path: str) -> str:
    return " ".join(browser.get(path).content.decode().split())


@pytest.mark.parametrize(
    ("path", "posts"),
    [
        ("/origins/", False),
        ("/origins/1/", False),
        ("/add-origin/", True),
        ("/origins/1/change/", True),
        ("/origins/1/remove/", True),
    ],
)
def test_each_page_takes_its_methods_only_and_nobody_anonymous(
    client: Browser, operator: Browser, path: str, posts: bool
) -> None:
    Origin.objects.create(pk=1, name="list1")
    assert client.get(path)["Location"] == f"/login/?next={path}"
    assert operator.get(path).status_code == 200
    assert (operator.post(path).status_code == 405) is not posts


def test_a_viewer_may_change_nothing_and_is_offered_nothing(viewer: Browser) -> None:
    client = client_make("192.0.2.77")
    Origin.objects.create(pk=1, name="list1")
    paths = ("/add-origin/", "/origins/1/change/", "/origins/1/remove/", f"/clients/{client.pk}/adopt/")
    for path in paths:
        assert viewer.post(path, FORM).status_code == 403
    page = viewer.get("/origins/").content.decode() + viewer.get("/origins/1/").content.decode()
    for path in paths:
        assert path not in page
    assert Client.objects.get(origin=None) == client


def test_empty_pages_say_what_would_be_there(viewer: Browser) -> None:
    page = text_of(viewer, "/origins/")
    assert "No origin is known." in page
    assert "None: every client that relays accepted mail from is an origin" in page
    assert "Nothing was accepted in the last 24 hours" in page
    origin = Origin.objects.create(name="list1")
    page = text_of(viewer, f"/origins/{origin.pk}/")
    assert "None: nothing can be told to be from it." in page
    assert "No instance accepted anything from it" in page


def test_the_list_tells_what_each_origin_handed_over_and_through_which_instances(viewer: Browser) -> None:
    origins_make(fleet_make())
    page = text_of(viewer, "/origins/")
    assert (
        '<td>192.0.2.31</td><td class="num">95</td><td class="num"><b>950</b></td>'
        "<td>msn-a 710, msn-b 240</td>"
    ) in page
    assert (
        '<td>2001:db8::32</td><td class="num">0</td><td class="num"><b>50</b></td><td>msn-c 50</td>'
    ) in page


def test_of_many_addresses_and_instances_the_list_shows_some_and_their_number(viewer: Browser) -> None:
    origin = Origin.objects.create(name="list1")
    host = host_make()
    for n in range(1, 6):
        client_make(f"192.0.2.{n}", origin=origin)
        accepted_make(instance_make(host, f"msn-{n}"), f"192.0.2.{n}", n)
    page = text_of(viewer, "/origins/")
    assert "<td>192.0.2.1, 192.0.2.2, 192.0.2.3 and 2 more</td>" in page
    assert "<td>msn-5 5, msn-4 4, msn-3 3 and 2 more</td>" in page


def test_the_shares_of_a_provider_leave_out_what_the_fleet_hands_to_itself(viewer: Browser) -> None:
    origins_make(fleet_make())
    page = text_of(viewer, "/origins/?provider=msn")
    # 710 of 1,000 through msn-a; the 4,000 that msn-b handed to msn-c are no origin's.
    assert '<b>710</b></td><td class="num">71.0 %</td><td class="num">710</td>' in page
    assert '<b>240</b></td><td class="num">24.0 %</td>' in page
    assert (
        '<b>50</b></td><td class="num">5.0 %</td><td class="num none">0</td><td class="num">50</td>' in page
    )
    assert "4,000" in page[page.index("Clients that can be no origin") :]
    assert "msn-b on rustin" in page
    assert "no origin" in text_of(viewer, "/origins/?provider=therest")


def test_mail_without_an_address_is_told_but_nobody_can_adopt_it(operator: Browser) -> None:
    accepted_make(instance_make(host_make(), "msn-a"), "::", 7)
    page = text_of(operator, "/origins/")
    assert "None: every client" in page
    assert "no address in the log" in page
    assert '<b>7</b></td><td class="num">100.0 %</td>' in page


def test_a_provider_that_nobody_has_has_no_shares(viewer: Browser) -> None:
    assert viewer.get("/origins/?provider=nothing").status_code == 200


def test_beyond_five_origins_the_others_share_a_column(viewer: Browser) -> None:
    instance = instance_make(host_make(), "msn-a")
    for n in range(1, 9):
        origin = Origin.objects.create(name=f"list{n}")
        client_make(f"192.0.2.{n}", origin=origin)
        accepted_make(instance, f"192.0.2.{n}", n)
    page = text_of(viewer, "/origins/")
    assert "3 others" in page
    assert '<td class="num">8</td><td class="num">7</td><td class="num">6</td><td class="num">5</td>' in page
    assert '<td class="num">4</td><td class="num">6</td></tr>' in page


def test_an_origins_page_tells_its_addresses_and_its_way_through_the_fleet(viewer: Browser) -> None:
    origin = origins_make(fleet_make())["list1.example.org"]
    page = text_of(viewer, f"/origins/{origin.pk}/")
    assert "192.0.2.31" in page
    # Of this origin's own 950 for msn.
    assert '<b>710</b></td><td class="num">74.7 %</td>' in page


def test_it_adds_changes_and_removes(operator: Browser) -> None:
    operator.post("/add-origin/", FORM)
    origin = Origin.objects.get()
    assert {client.ip for client in origin.clients.all()} == {"192.0.2.31", "2001:db8::31"}
    operator.post(f"/origins/{origin.pk}/change/", FORM | {"addresses": "192.0.2.32"})
    assert [client.ip for client in origin.clients.all()] == ["192.0.2.32"]
    assert operator.post(f"/origins/{origin.pk}/remove/")["Location"] == "/origins/"
    assert not Origin.objects.exists()


def test_what_is_refused_stands_beside_its_field_and_nothing_typed_is_lost(operator: Browser) -> None:
    page = operator.post("/add-origin/", FORM | {"addresses": "192.0.2.31\n<b>nonsense"}).content.decode()
    assert "&lt;b&gt;nonsense" in page and "is not an IP address" in page
    assert "192.0.2.31" in page
    assert not Origin.objects.exists()


def test_a_client_is_adopted_in_one_click_into_a_new_origin_of_its_name(operator: Browser) -> None:
    origins_make(fleet_make())
    client = Client.objects.get(ip="192.0.2.77")
    assert '<option value="">new: list3.example.org</option>' in text_of(operator, "/origins/")
    operator.post(f"/clients/{client.pk}/adopt/", {"origin": ""})
    client.refresh_from_db()
    assert client.origin is not None and client.origin.name == "list3.example.org"


def test_it_is_offered_the_origin_of_its_name_where_there_is_one(operator: Browser) -> None:
    origin = Origin.objects.create(name="list1.example.org")
    client = client_make("192.0.2.32", "list1.example.org")
    page = text_of(operator, "/origins/")
    assert f'<option value="{origin.pk}" selected>list1.example.org</option>' in page
    assert "new: list1" not in page
    operator.post(f"/clients/{client.pk}/adopt/", {"origin": origin.pk})
    assert [found.ip for found in origin.clients.all()] == ["192.0.2.32"]


def test_an_adoption_that_came_too_late_says_so(operator: Browser) -> None:
    theirs = Origin.objects.create(name="theirs")
    mine = Origin.objects.create(name="mine")
    client = client_make("192.0.2.32", origin=theirs)
    page = operator.post(f"/clients/{client.pk}/adopt/", {"origin": mine.pk}, follow=True).content.decode()
    assert "192.0.2.32 belongs to the origin theirs." in page
    mine.delete()
    page = operator.post(f"/clients/{client.pk}/adopt/", {"origin": 99}, follow=True).content.decode()
    assert "There is no such origin any more" in page


def test_who_may_only_change_origins_makes_no_new_one() -> None:
    user = get_user_model().objects.create_user("otto")
    user.user_permissions.add(Permission.objects.get(codename="change_origin"))
    browser = Browser()
    browser.force_login(user)
    client = client_make("192.0.2.77", "list3.example.org")
    assert browser.post(f"/clients/{client.pk}/adopt/", {"origin": ""}).status_code == 403
    assert not Origin.objects.exists()


def test_a_name_that_a_resolver_gave_stays_text(operator: Browser) -> None:
    client = client_make("192.0.2.77", "<script>alert(1)</script>\u202egro.elpmaxe")
    page = operator.get("/origins/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202egro.elpmaxe" in page
    operator.post(f"/clients/{client.pk}/adopt/", {"origin": ""})
    assert Origin.objects.get().name == "192.0.2.77"


def test_search_finds_an_origin_by_name_and_by_address(viewer: Browser) -> None:
    origin = origins_make(fleet_make())["list2.example.org"]
    for query in ("list2", "2001:DB8:0::32"):
        assert viewer.get("/search/", {"q": query})["Location"] == f"/origins/{origin.pk}/"
