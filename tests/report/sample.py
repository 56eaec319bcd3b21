"""Reports to render: one of a clean rehearsal, one of a bad day with hostile names."""

from __future__ import annotations

import copy
from typing import Any

from toolkit.prove import NAMES

#: A name as an attacker would choose it: markup, a direction override, an escape sequence, a NUL, a newline.
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x1b[31m\x00\n# h | `x` & ](http://e.example) \ufffe\ud800"

_FAMILY = {"waived": 0, "lost": 0}


def good() -> dict[str, Any]:
    """A rehearsal in which everything came over."""
    return {
        "schema": "rehost.report/1",
        "site": "agora",
        "run": "7f3c2a919b1f4e0d",
        "evidence": "mock",
        "scale": 1 / 14400,
        "started": "2026-03-01T10:00:00.000+00:00",
        "finished": "2026-03-01T10:02:21.400+00:00",
        "exit_code": 0,
        "journal_head": "9b1f" * 16,
        "verdict": "independent",
        "families": {
            "dns": {"total": 60, "moved": 60, "verified": 59, "waived": 1, "lost": 0, "unit": "rrsets"},
            "storage": {"total": 3212, "moved": 3212, "verified": 3212, "bytes": 183_442_911, **_FAMILY},
        },
        "promises": {
            "P1": {"status": "held", "evidence": "4 writes, all consented"},
            "P3": {"status": "not measured", "evidence": ""},
        },
        "checks": [
            {"number": n, "name": name, "status": "passed", "text": f"{name} seen", "findings": [], "evidence": {}}
            for n, name in enumerate(NAMES, 1)
        ],
        "verdicts": [_verdict("converted", "alias"), _verdict("kept", "ttl")],
        "findings": [],
        "journeys": [
            {
                "name": "log in",
                "passed": True,
                "seconds": 0.214,
                "steps": [
                    {"method": "GET", "url": "http://api.agora.example:8080/", "status": 200, "sha256": "", "why": ""}
                ],
            }
        ],
        "dependence": {
            "removed": ["storage/bucket/media", "storage/bucket/avatars"],
            "replaced": [{"address": "dns/rrset/agora/www/A", "feature": "alias", "by": "addresses"}],
            "remaining": [],
        },
        "timeline": [
            {"at": "2026-03-01T10:00:00+00:00", "what": "apply.start", "detail": {"plan": "ab" * 32, "phase": "build"}},
            {"at": "2026-03-01T10:01:12+00:00", "what": "prove", "detail": {"verdict": "independent", "checks": {}}},
        ],
        "figures": {
            "copied_bytes": 183_442_911,
            "freeze_seconds": 6.2,
            "retries": 14,
            "seconds": {"apply": 41.0, "prove": 7.5},
            "run_by": "processes",
        },
    }


def bad() -> dict[str, Any]:
    """A move that lost three objects, with hostile text in every place that a cloud can fill."""
    report = copy.deepcopy(good())
    report.update(site=HOSTILE, verdict="dependent", exit_code=50, evidence="real", scale=1)
    report["families"]["storage"].update(verified=3209, lost=3)
    report["promises"]["P5"] = {"status": "broken", "evidence": HOSTILE}
    report["checks"][0].update(status="failed", text=HOSTILE)
    report["checks"][5].update(status="unproven", text="a route to the old side is open")
    report["journeys"][0]["passed"] = False
    report["journeys"][0]["steps"][0].update(url=HOSTILE, why=HOSTILE)
    report["findings"] = [finding(n) for n in range(3)] + [finding(3, severity="warning")]
    report["dependence"]["remaining"] = [{"address": HOSTILE, "text": HOSTILE}]
    report["dependence"]["removed"].append(HOSTILE)
    report["verdicts"].append(_verdict("degraded", HOSTILE, accepted=HOSTILE))
    report["timeline"].append({"at": HOSTILE, "what": HOSTILE, "detail": {"text": HOSTILE}})
    report["figures"][HOSTILE] = HOSTILE
    report["notices"] = [HOSTILE]
    report["comparison"] = {
        "run": HOSTILE,
        "verdict": "independent",
        "new": [report["findings"][0]["id"]],
        "gone": [],
        "same": [],
    }
    return report


def finding(number: int, severity: str = "error") -> dict[str, Any]:
    """One finding with hostile text and an id of its own."""
    return {
        "id": f"storage/objects/media/{number}:object:missing",
        "address": f"storage/objects/media/{HOSTILE}",
        "feature": "object",
        "verdict": "missing",
        "severity": severity,
        "text": HOSTILE,
        "remedy": f"run `rehost apply` again; {HOSTILE}",
        "evidence": {"key": HOSTILE},
    }


def _verdict(outcome: str, feature: str, accepted: str = "") -> dict[str, Any]:
    return {
        "id": f"dns/rrset/agora/www/A:{feature}",
        "address": "dns/rrset/agora/www/A",
        "feature": feature,
        "verdict": outcome,
        "reason": "it becomes addresses",
        "instead": "",
        "assumed": False,
        "accepted": accepted,
    }
