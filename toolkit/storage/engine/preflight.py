"""Before the first byte: does each side answer, to us, and with a clock that is near ours?

Enters: a job. Leaves: nothing, or the error that a person must see before anything is copied:
``AccountClosed`` for a suspended user, ``NeedsHuman`` for a missing bucket, ``Refused`` for clocks more
than five minutes apart, and whatever the fault is elsewhere. In the middle of a run the same trouble is a pause.
"""

from __future__ import annotations

import asyncio
import logging

from toolkit.errors import NeedsHuman, Refused, RehostError
from toolkit.storage.engine.faults import Fault, as_error, skew_of
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, session
from toolkit.storage.engine.ledger import Ledger
from toolkit.storage.engine.pause import look, patiently
from toolkit.storage.engine.work import Job
from toolkit.storage.model import DataPlane, Knobs

log = logging.getLogger(__name__)
WARN, REFUSE = 60.0, 300.0  # seconds of clock skew


def check(job: Job, slug: str, *, target_may_be_missing: bool = False) -> None:
    """Ask both sides. Once something was copied, trouble of the kinds that may pass is waited for."""
    knobs, begun = job.knobs, not Ledger(job.run, slug).empty
    for number, (plane, bucket) in enumerate(job.doors):
        skew = asyncio.run(_ask(plane, bucket, knobs, begun, absent=target_may_be_missing and number == 1))
        if abs(skew) > REFUSE:
            raise Refused(
                f"{plane.label or plane.endpoint}: its clock is {skew:+.0f} s off ours",
                "set the clock of this machine or of the store (NTP), then run again",
            )
        if abs(skew) > WARN:
            log.warning("%s: its clock is %+.0f s off ours", plane.label or plane.endpoint, skew)


async def _ask(plane: DataPlane, bucket: str, knobs: Knobs, begun: bool, *, absent: bool) -> float:
    async with session(knobs) as http:
        store = Store(plane, bucket, http, Gate(1, 1), knobs)
        try:
            date = await (patiently(lambda: look(store), store) if begun and not absent else look(store))
        except Fault as fault:
            if fault.kind == "no-bucket" and absent:
                return 0.0
            raise _judged(fault) from fault
    return skew_of(date)


def _judged(fault: Fault) -> RehostError:
    if fault.kind == "no-bucket" or (fault.kind == "gone" and not fault.key):
        return NeedsHuman(fault.text, "check the bucket's name, its region (zonegroup) and who owns it")
    return as_error(fault)
