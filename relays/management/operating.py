"""What commands share that change something: which instance, who answers for it, and waiting for the end."""

import time

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from relays.domain.words import visible
from relays.models import Instance, Operation
from relays.services import operations
from relays.services.audit import shell_actor

_LOOK_EVERY_S = 0.5


def instance_named(name: str) -> Instance:
    """Return an instance by its name, or HOST/INSTANCE where several hosts have one of that name."""
    host, slash, short = name.rpartition("/")
    found = Instance.objects.select_related("host", "provider").filter(name=short, removed_at=None)
    if slash:
        found = found.filter(host__name=host)
    instances = list(found[:2])
    if not instances:
        raise CommandError(f"There is no instance {visible(name)}: manage.py relay list")
    if len(instances) > 1:
        raise CommandError(f"Several hosts have an instance {visible(name)}: write HOST/{visible(name)}.")
    return instances[0]


def user_named(name: str) -> User:
    """Return who answers for it: the user that was named, or that is called as the account is."""
    wanted = name or shell_actor().name
    user = User.objects.filter(username=wanted).first()
    if user is None:
        raise CommandError(f"The console has no user {visible(wanted)}: say who answers for it with --user.")
    return user


def run_to_its_end(operation: Operation) -> None:
    """Run an operation here, as long as no worker does, until it has ended: its own deadline sees to that."""
    operations.run(operation_id=operation.pk)
    operation.refresh_from_db()
    while operation.is_live:
        time.sleep(_LOOK_EVERY_S)
        operations.run(operation_id=operation.pk)
        operation.refresh_from_db()
