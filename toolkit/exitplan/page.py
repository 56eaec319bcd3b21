"""docs/reference/exit-items.md, written from the catalogue: ``python -m toolkit.exitplan.page``."""

from __future__ import annotations

import sys

from toolkit.exitplan import catalogue, rules, text
from toolkit.exitplan.catalogue import Item

HEAD = """# The items of an exit plan

Generated from `toolkit/exitplan/catalogue.yaml` by `make fidelity`; do not edit. Sev: blocker, major, minor. How: A
automatic, H automatic and a person's word, M a person's word with a file. Lead: how long it takes with 90 %
certainty; longer than the notice means that it can only be done before one comes. Age: how old its evidence may
be. `*` on the short list, `=` nobody can waive it, `~` a run against mocks is the proof asked for.
"""


def page() -> str:
    """Return the whole page."""
    items = catalogue.load(rules=tuple(rules.RULES)).values()
    lines = [HEAD]
    for group in dict.fromkeys(item.group for item in items):
        lines += [f"## {group.capitalize().replace('-', ' ')}", "", "| id | item | sev | how | lead | age | evidence |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        lines += [_row(item) for item in items if item.group == group]
        lines.append("")
    return "\n".join(lines)


def _row(item: Item) -> str:
    marks = "".join(m for m, on in (("*", item.small), ("=", not item.waivable), ("~", item.mock)) if on)
    checks = [f"`{condition['of']}`" for condition in item.conditions] or [f"`{name}`" for name in item.needs]
    seen = ", ".join(dict.fromkeys(checks)) or (f"`{rules.PARTS[item.rule]}`" if item.rule in rules.PARTS else "")
    word = "" if item.mode == "A" else f"`attested.{item.id}`"
    later = f" ({item.phase})" if item.phase != "plan" else ""
    proof = ", ".join(part for part in (seen, word) if part)
    maps = f"<br>{', '.join(item.maps)}" if item.maps else ""
    return (
        f"| {item.id}{marks} | {item.title}{later}{maps} | {item.severity} | {item.mode}"
        f" | {text.hours(item.lead_h[1])} | {text.hours(item.ttl_h)} | {proof} |"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
