"""A flush of 20,000 deferred messages among 30,000, beside the recipe by hand, in one run on real Postfix.

Both move the same number for the same domains from one instance to another of a rehearsal fleet, while the
source takes new mail for another provider 200 times a second. With --faults instead: bench/flush_faults.py.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone

from bench import flush_faults
from bench.faults import Rehearsal
from bench.figures import Figure, arguments, report
from bench.flushing import (
    HOST,
    MOVED_DOMAINS,
    SOURCE,
    STEP_S,
    TARGET,
    arrived,
    confirmed,
    deferred,
    is_live,
    quiet,
    redirect_lines,
    wait_until,
)

OTHER_DOMAIN, NEW_DOMAIN = "live.com", "gmail.com"
_CONFIG = f"/etc/postfix-{SOURCE}"


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--messages", type=int, default=20_000, help="of the domains that are moved")
    parser.add_argument("--others", type=int, default=10_000, help="that must not be touched")
    parser.add_argument("--per-s", type=int, default=200, help="new messages at the source meanwhile")
    flush_faults.add_options(parser)
    options = parser.parse_args()
    os.environ |= flush_faults.settings() if options.faults else {}
    with Rehearsal() as rehearsal:
        if options.faults:
            return report(flush_faults.run(rehearsal, options), as_json=options.json)
        quiet(rehearsal)
        by_hand = recipe(rehearsal, options.messages, options.per_s)
        figures = flush(rehearsal, options.messages, options.others, options.per_s)
    ratio = figures[0].value / by_hand.value
    told = [by_hand, *figures, Figure("a flush beside the recipe", ratio, "times", at_least=0.8)]
    return report(told, as_json=options.json)


def recipe(rehearsal: Rehearsal, messages: int, per_s: int) -> Figure:
    """Move them as people do by hand: a map, a reload, and all deferred mail tried."""
    deferred(rehearsal, {domain: messages // len(MOVED_DOMAINS) for domain in MOVED_DOMAINS})
    fleet, instance = rehearsal.fleet, rehearsal.fleet.instance(SOURCE)
    kept = postconf(rehearsal, "-h", "transport_maps")
    fleet.host(HOST).path(f"{_CONFIG}/by-hand").write_text(
        f"* smtp:[{fleet.instance(TARGET).spec.address}]\n"
    )
    began = time.monotonic()
    with new_mail(rehearsal, per_s):
        fleet.host(HOST).run(["postmap", f"{_CONFIG}/by-hand"])
        postconf(rehearsal, "-e", f"transport_maps=hash:{_CONFIG}/by-hand")
        instance.postfix("reload")
        instance.postfix("flush")
        wait_until(lambda: not instance.counts()["deferred"] and emptied(rehearsal), "the recipe's end")
        took_s = time.monotonic() - began
    postconf(rehearsal, "-e", f"transport_maps={kept}")
    instance.postfix("reload")
    wait_until(lambda: not any(fleet.instance(TARGET).counts().values()), "the target to send them on")
    return Figure("the recipe by hand", messages / took_s, "/s")


def flush(rehearsal: Rehearsal, messages: int, others: int, per_s: int) -> list[Figure]:
    """Move them by a flush, and tell what the provider, the logs and the receipt say of it."""
    each = {domain: messages // len(MOVED_DOMAINS) for domain in MOVED_DOMAINS}
    sent = deferred(rehearsal, {**each, OTHER_DOMAIN: others})
    instance, before = rehearsal.fleet.instance(SOURCE), tries_of_others(rehearsal)
    began = time.monotonic()
    with new_mail(rehearsal, per_s) as new:
        operation = confirmed(MOVED_DOMAINS)
        wait_until(lambda: emptied(rehearsal), "the selected mail to leave")
        took_s, emptied_at = time.monotonic() - began, timezone.now()
        wait_until(lambda: not is_live(operation), "the flush to end")
    print(f"{operation.state}: {operation.outcome}", file=sys.stderr)
    wanted = [message_id for domain in MOVED_DOMAINS for message_id in sent[domain]]
    wait_until(lambda: len(arrived(rehearsal, wanted)) == len(wanted), "each to arrive")
    times = arrived(rehearsal, wanted)
    account = operation.flush.account
    redirected_s = (emptied_at - (operation.flush.redirected_at or emptied_at)).total_seconds()
    return [
        Figure("a flush, from its redirect on", messages / max(redirected_s, 1), "/s"),
        Figure("a flush, from its plan on", messages / took_s, "/s"),
        Figure("messages that did not arrive", len(wanted) - len(times), "", at_most=0),
        Figure("messages that arrived twice", sum(n > 1 for n in times.values()), "", at_most=0),
        Figure("tries of other mail", tries_of_others(rehearsal) - before, "", at_most=0),
        Figure("other mail still deferred", instance.counts()["deferred"], "", at_least=others),
        Figure("recipients that are unknown", account["unknown"], "", at_most=0),
        Figure("ended as done", operation.state == "done", "", at_least=1),
        Figure("new mail taken", new["taken"] / new["took_s"], "/s"),
        Figure("new mail refused", new["refused"], "", at_most=0),
        Figure("lines of the redirect map", redirect_lines(rehearsal), "", at_most=0),
    ]


@contextmanager
def new_mail(rehearsal: Rehearsal, per_s: int) -> Iterator[dict[str, Any]]:
    """Send new mail for another provider to the source meanwhile; yield what became of it, at the end."""
    told: dict[str, Any] = {"taken": 0, "refused": 0, "took_s": 1.0}
    ended, began = threading.Event(), time.monotonic()

    def send() -> None:
        asked = 0
        while not ended.wait(STEP_S):
            due = int((time.monotonic() - began) * per_s) - asked
            taken = rehearsal.fleet.send(due, domain=NEW_DOMAIN, via=SOURCE) if due > 0 else []
            asked += max(0, due)
            told["taken"] += len(taken)
            told["refused"] += max(0, due) - len(taken)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()
        told["took_s"] = time.monotonic() - began


def emptied(rehearsal: Rehearsal) -> bool:
    """Tell whether nothing for the moved domains is in the source's queue."""
    return not any(
        recipient["address"].rpartition("@")[2] in MOVED_DOMAINS
        for message in rehearsal.fleet.instance(SOURCE).postqueue()
        for recipient in message["recipients"]
    )


def tries_of_others(rehearsal: Rehearsal) -> int:
    return rehearsal.fleet.instance(SOURCE).log().count(f"@{OTHER_DOMAIN}>, relay=")


def postconf(rehearsal: Rehearsal, *words: str) -> str:
    told: str = rehearsal.fleet.host(HOST).run(["postconf", "-c", _CONFIG, *words]).stdout
    return told.strip()


if __name__ == "__main__":
    sys.exit(main())
