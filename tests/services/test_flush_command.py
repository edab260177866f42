"""`manage.py flush …`, as far as it goes without a host; what it does on one: tests/lab."""

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from relays.models import AuditEvent, Instance, Operation
from tests.factories import host_make, instance_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def instances() -> tuple[Instance, Instance]:
    return instance_make(host_make("rustin"), "msn-a"), instance_make(host_make("cleveland"), "msn-b")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["msn-a", "msn-b"], "Say why with --reason"),
        (["msn-a", "msn-b", "--reason", " "], "Say why with --reason"),
        (["msn-a", "msn-b", "--json", "--reason", "x"], "give --plan or --yes"),
        (["msn-a", "msn-x", "--plan"], "There is no instance msn-x"),
        (["other/msn-a", "msn-b", "--plan"], "There is no instance other/msn-a"),
        (["msn-a", "msn-b", "--plan", "--user", "nobody"], "The console has no user nobody"),
        (["msn-a", "msn-a", "--plan", "--user", "anna"], "The mail is there already"),
        (["msn-a", "msn-b", "--plan", "--user", "anna", "--domain", "no such"], "no such"),
        (["msn-a", "msn-b", "--plan", "--yes"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_planned(
    instances: tuple[Instance, Instance], words: list[str], why: str
) -> None:
    User.objects.create_superuser("anna")
    with pytest.raises(CommandError, match=why):
        call_command("flush", *words)
    assert not Operation.objects.exists()


def test_a_name_that_two_hosts_have_needs_its_host(instances: tuple[Instance, Instance]) -> None:
    instance_make(host_make("third"), "msn-b")
    with pytest.raises(CommandError, match="Several hosts have an instance msn-b: write HOST/msn-b"):
        call_command("flush", "msn-a", "msn-b", "--plan")


def test_who_may_not_is_refused_and_noted(instances: tuple[Instance, Instance]) -> None:
    User.objects.create_user("eve")
    with pytest.raises(CommandError, match="may not"):
        call_command("flush", "msn-a", "msn-b", "--plan", "--user", "eve")
    assert AuditEvent.objects.filter(phase="denied", action="operation.flush").exists()
