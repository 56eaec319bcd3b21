"""What the source credentials could write, said the same way by every family.

A driver answers with requests that cannot succeed whatever the credentials may do; this turns the
answer into a finding.
"""

from __future__ import annotations

from toolkit.model import Finding


def power(address: str, what: str, allowed: bool | None) -> Finding:
    """Say whether the credentials could do ``what``; ``None`` when it cannot be tried without risk."""
    if allowed is None:
        text = f"whether these credentials could {what} cannot be tried here without risk"
        return Finding(address, "powers", "note", text, severity="info")
    if allowed:
        return Finding(
            address,
            "powers",
            "note",
            f"these credentials could {what}: more power than reading needs",
            "use read-only credentials for everything but the cut-over (`rehost doctor --print-policy`)",
            "warning",
        )
    return Finding(address, "powers", "note", f"these credentials cannot {what}", severity="info")
