"""A domain is given to another provider where it stands, with the keyboard alone."""

import pytest

from tests.browser.visits import Visit
from tests.factories import provider_make, recipient_domain_make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_domain_changes_hands_without_leaving_the_page(visit: Visit) -> None:
    provider_make("msn")
    domain = recipient_domain_make("acme.example")
    page = visit.open(f"/domains/{domain.pk}/provider/")
    page.get_by_role("combobox", name="Provider of acme.example").select_option("msn")
    page.get_by_role("button", name="Save").press("Enter")
    page.get_by_role("link", name="Change the provider of acme.example").wait_for()
    assert "what is counted stays where it was" in page.get_by_role("status").inner_text()
    domain.refresh_from_db()
    assert domain.provider.slug == "msn"
    # The focus is where it was, so the next key goes on from there.
    page.keyboard.press("Enter")
    choice = page.get_by_role("combobox", name="Provider of acme.example")
    choice.wait_for()
    assert choice.input_value() == "msn"
    page.get_by_role("link", name="Cancel").press("Enter")
    page.get_by_role("link", name="Change the provider of acme.example").wait_for()
    assert page.url == f"{visit.base}/domains/{domain.pk}/provider/"
    assert visit.unexpected == []
