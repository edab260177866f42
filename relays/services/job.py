"""An operation while it runs: its steps, its lease and the ways in which it can stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from relays.domain.text import printable
from relays.models import Instance, Operation, OperationStep
from relays.models.operation import StepState
from relays.remote.errors import KeyChanged, Refused, RemoteError
from relays.services import audit
from relays.services.audit import SYSTEM, Subject

# A remote call ends within 60 s; with the sweeper's 20 s a claim that died is taken over in under 120 s.
LEASE = timedelta(seconds=80)
CALL_WITHIN = timedelta(seconds=60)
# Between two look-ups of a step whose end is not known.
LOOK_AGAIN = timedelta(seconds=5)

Response = Mapping[str, Any]


class Stopped(Exception):
    """The run ends here, for the reason that the type tells; the text is for people."""


class Failed(Stopped):
    """It cannot be done, and nothing was left half done."""


class Unknown(Stopped):
    """It cannot be told what came of a step; the text says what to check."""


class Aborted(Stopped):
    """Somebody asked for it to stop."""


class Wait(Stopped):
    """There is nothing to do before `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"until {until:%H:%M:%S}")
        self.until = until


class LeaseLost(Stopped):
    """Another worker has taken over: this one writes nothing more."""


class StillRunning(Exception):
    """The host knows the request and has no result of it yet."""


class NoResult(Exception):
    """The host began the request, runs it no more and has no result: nobody can tell what came of it."""


class Job:
    """An operation in the hands of the worker that claimed it."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self._closing = False

    @property
    def instance(self) -> Instance:
        """The instance that is changed. Raises Failed where it is gone."""
        if self.operation.instance is None:
            raise Failed("The instance is gone.")
        return self.operation.instance

    def step(
        self,
        name: str,
        effect: Callable[[str], Response],
        *,
        look_up: Callable[[str], Response | None],
        request: Mapping[str, Any],
    ) -> Response:
        """Do a step once, whatever dies in between, and return its response.

        effect: makes the request with the id it is given; look_up: asks the host what became of that id,
        None for a request that never came there, StillRunning for one without a result yet, NoResult for
        one that never will have; request: what is asked, for the page. Raises Failed, Unknown, Aborted,
        Wait or LeaseLost, which end the run.
        """
        step = OperationStep.objects.filter(operation=self.operation, name=name).first()
        if step is None:
            step = self._begin(name, request)
        elif step.state != StepState.BEGUN:
            return self._known(step)
        elif (response := self._looked_up(step, look_up)) is not None:
            return self._finish(step, response)
        return self._do(step, effect)

    def wait(self, how_long: timedelta) -> NoReturn:
        """End this run; the operation goes on from its beginning after that long."""
        raise Wait(timezone.now() + how_long)

    def progress(self, text: str, *, done: int = 0, total: int = 0) -> None:
        """Tell the page how far it is."""
        value = {"text": text, "done": done, "total": total}
        self._update(progress=value)

    def go_on(self) -> None:
        """Renew the lease, and stop where somebody asked for it. Long kinds call it between their steps.

        Nothing stops within a step: what became of one that is begun has to be known first.
        """
        self.keep()
        if self._closing or self.operation.steps.filter(state=StepState.BEGUN).exists():
            return
        if asked_by := self.abort_asked_by():
            raise Aborted(f"{asked_by} asked for it to stop.")

    def keep(self) -> None:
        """Renew the lease."""
        self._update(lease_until=timezone.now() + LEASE)

    def abort_asked_by(self) -> str:
        """Return who asked for it to stop, "" for nobody."""
        asked: str = Operation.objects.values_list("abort_requested_by", flat=True).get(pk=self.operation.pk)
        return asked

    def close(self) -> None:
        """From here on nothing stops it: what was begun is put back in order first."""
        self._closing = True

    def is_late(self) -> bool:
        """Tell whether the operation's time is up."""
        deadline = self.operation.deadline_at
        return deadline is not None and timezone.now() > deadline

    def _begin(self, name: str, request: Mapping[str, Any]) -> OperationStep:
        """Write that a step begins, before it does, with the id its request will carry."""
        self.go_on()
        with transaction.atomic():
            self._update(lease_until=timezone.now() + LEASE)
            step = OperationStep.objects.create(
                operation=self.operation,
                number=self.operation.steps.count() + 1,
                name=name,
                fence=self.operation.fence,
                begun_at=timezone.now(),
                request=dict(request),
            )
            self._audit(step, "begun")
        return step

    def _do(self, step: OperationStep, effect: Callable[[str], Response]) -> Response:
        self._update(lease_until=timezone.now() + LEASE)
        try:
            response = effect(str(step.req_id))
        except (Refused, KeyChanged) as error:
            raise self._fail(step, error) from error
        except RemoteError as error:
            # It may have been done: the host is asked before anything else.
            raise self._wait_for(step, str(error)) from error
        return self._finish(step, response)

    def _looked_up(self, step: OperationStep, look_up: Callable[[str], Response | None]) -> Response | None:
        self._update(lease_until=timezone.now() + LEASE)
        try:
            return look_up(str(step.req_id))
        except StillRunning as error:
            if timezone.now() - step.begun_at > CALL_WITHIN:
                raise self._give_up(step, "the host began it and has no result of it") from error
            raise Wait(timezone.now() + LOOK_AGAIN) from error
        except NoResult as error:
            raise self._give_up(step, str(error)) from error
        except RemoteError as error:
            raise self._wait_for(step, str(error)) from error

    def _wait_for(self, step: OperationStep, error: str) -> Stopped:
        """Return the wait for the next look-up, or Unknown where the operation's time is up."""
        deadline = self.operation.deadline_at
        if deadline is not None and timezone.now() + LOOK_AGAIN > deadline:
            return self._give_up(step, error)
        OperationStep.objects.filter(pk=step.pk).update(error=printable(error, 500))
        return Wait(timezone.now() + LOOK_AGAIN)

    def _known(self, step: OperationStep) -> Response:
        if step.state == StepState.FAILED:
            raise Failed(step.error)
        if step.state == StepState.UNKNOWN:
            raise Unknown(step.error)
        response: Response = step.response
        return response

    def _finish(self, step: OperationStep, response: Response) -> Response:
        with transaction.atomic():
            self._end(step, StepState.DONE, response=dict(response), error="")
            self._audit(step, "succeeded")
        return response

    def _fail(self, step: OperationStep, error: Exception) -> Failed:
        text = printable(str(error), 500)
        with transaction.atomic():
            self._end(step, StepState.FAILED, error=text)
            self._audit(step, "failed", text)
        return Failed(text)

    def _give_up(self, step: OperationStep, error: str) -> Unknown:
        text = printable(f"Whether {step.name} was done is not known: {error}.", 500)
        with transaction.atomic():
            self._end(step, StepState.UNKNOWN, error=text)
            self._audit(step, "unknown", text)
        return Unknown(text)

    def _end(self, step: OperationStep, state: StepState, **fields: Any) -> None:
        """Write how a step ended, unless another worker has the operation by now."""
        self._update(lease_until=timezone.now() + LEASE)
        OperationStep.objects.filter(pk=step.pk).update(state=state, ended_at=timezone.now(), **fields)

    def _update(self, **fields: Any) -> None:
        """Write to the operation as long as it is this worker's."""
        mine = Operation.objects.filter(pk=self.operation.pk, attempt=self.operation.attempt, state="running")
        if mine.update(**fields) != 1:
            raise LeaseLost("Another worker has taken over.")

    def _audit(self, step: OperationStep, phase: str, error: str = "") -> None:
        audit.record(
            actor=SYSTEM,
            action=f"operation.{self.operation.kind}",
            phase=phase,
            subject=subject_of(self.operation),
            reason=self.operation.reason,
            details={
                "step": step.name,
                "req_id": str(step.req_id),
                "fence": self.operation.fence,
                "requested_by": self.operation.requested_by_name,
                **({"error": error} if error else {}),
            },
        )


def subject_of(operation: Operation) -> Subject:
    """Return an operation as what an audit event is about."""
    return Subject(
        type="operation",
        id=str(operation.pk),
        name=str(operation),
        host=operation.host_name,
        instance=operation.instance_name,
        operation_id=operation.pk,
    )


def next_fence(operation: Operation) -> int:
    """Return a fence greater than any that an operation on the same instance was given."""
    instance = operation.instance
    if instance is None:
        return operation.fence + 1
    type(instance).objects.filter(pk=instance.pk).update(fence=F("fence") + 1)
    instance.refresh_from_db(fields=["fence"])
    return instance.fence
