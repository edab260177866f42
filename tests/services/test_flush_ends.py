"""The two ends of a flush: by the address family that both have, and what is said where there is none."""

import pytest

from relays.domain.flush import PeerFacts
from relays.models import Address, Instance
from relays.remote.flush import Peer
from relays.services.flush_run import Ends
from relays.services.flushes import _encryption, ends_of
from relays.services.kinds import PlanRefused
from tests.factories import host_make, instance_make

pytestmark = pytest.mark.django_db
FOUR, SIX = "198.51.100.{}", "2001:db8::{}"


@pytest.fixture
def ends() -> tuple[Instance, Instance]:
    return instance_make(host_make("rustin"), "msn-a"), instance_make(host_make("cleveland"), "msn-b")


def give(instance: Instance, *families: str, last: int) -> None:
    """Have an instance send from an address of each of these families, in this order."""
    for family in families:
        Address.objects.create(instance=instance, ip=family.format(last))


@pytest.mark.parametrize(
    ("here", "there", "family"),
    [
        ((FOUR,), (FOUR,), FOUR),
        ((SIX,), (SIX,), SIX),
        ((FOUR, SIX), (SIX,), SIX),
        ((FOUR,), (SIX, FOUR), FOUR),
        ((SIX, FOUR), (SIX, FOUR), FOUR),
    ],
)
def test_mail_goes_by_the_family_that_both_ends_have(
    ends: tuple[Instance, Instance], here: tuple[str, ...], there: tuple[str, ...], family: str
) -> None:
    source, target = ends
    give(source, *here, last=11)
    give(target, *there, last=12)
    found = ends_of(source, {"target": target.pk})
    assert (found.client, found.peer) == (family.format(11), Peer(family.format(12)))


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        (
            (FOUR,),
            (SIX,),
            r"msn-a has an IPv4 address alone, msn-b an IPv6 .* set smtp_bind_address6 at msn-a",
        ),
        (
            (SIX,),
            (FOUR,),
            r"msn-a has an IPv6 address alone, msn-b an IPv4 .* set smtp_bind_address at msn-a",
        ),
        ((), (SIX,), r"msn-a sends from no address of its own: set smtp_bind_address there"),
        ((SIX,), (), r"msn-b sends from no address of its own: set smtp_bind_address there"),
    ],
)
def test_ends_that_no_path_joins_are_refused_with_the_remedy(
    ends: tuple[Instance, Instance], here: tuple[str, ...], there: tuple[str, ...], why: str
) -> None:
    source, target = ends
    give(source, *here, last=11)
    give(target, *there, last=12)
    with pytest.raises(PlanRefused, match=why):
        ends_of(source, {"target": target.pk})


@pytest.mark.parametrize(
    ("starttls", "encrypts", "told"),
    [
        (True, True, "msn-b offers TLS, which is used."),
        (True, False, "msn-b offers TLS, which msn-a does not use: the mail goes there in the clear."),
        (False, False, "msn-b offers no TLS: the mail goes there in the clear."),
    ],
)
def test_a_plan_tells_whether_the_mail_goes_encrypted(
    ends: tuple[Instance, Instance], starttls: bool, encrypts: bool, told: str
) -> None:
    peer = PeerFacts("msn-b", None, True, starttls, encrypts)
    assert list(_encryption(Ends(*ends, Peer("192.0.2.2"), "192.0.2.1"), peer)) == [told]
