"""Event notifications: only to topics that somebody named for the target, and only from the cut-over on.

Earlier, every object that is copied would be told as an upload.
"""

from __future__ import annotations

from typing import Any

from toolkit.storage.config.scene import Note, Scene, Translated

_ARN = {
    "TopicConfigurations": "TopicArn",
    "QueueConfigurations": "QueueArn",
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
}
_SERVICE = {"sns": "TopicConfigurations", "sqs": "QueueConfigurations", "lambda": "LambdaFunctionConfigurations"}
#: Events that Ceph RGW sends; the others exist at AWS only.
_RGW_EVENTS = ("s3:ObjectCreated:", "s3:ObjectRemoved:")


def translate(value: dict[str, Any], scene: Scene) -> Translated:
    """Return the notifications whose topic is mapped (``topics:`` of the target provider)."""
    kept: dict[str, list[dict[str, Any]]] = {}
    notes: list[Note] = []
    total = 0
    for kind, key in _ARN.items():
        for number, entry in enumerate(value.get(kind, []), 1):
            total += 1
            part = f"notification/{entry.get('Id') or f'{key}-{number}'}"
            arn = scene.maps.topics.get(entry[key], "")
            place = _SERVICE.get(arn.split(":")[2], "") if arn.startswith("arn:") else ""
            events = [name for name in entry["Events"] if scene.to_aws or name.startswith(_RGW_EVENTS)]
            if not place or not scene.target.can("notification"):
                notes.append(Note(part, "notification-dropped", f"to {entry[key]}"))
                continue
            if len(events) < len(entry["Events"]):
                gone = ", ".join(sorted(set(entry["Events"]) - set(events)))
                notes.append(Note(f"{part}/events", "notification-events", gone))
            if events:
                rest = {name: told for name, told in entry.items() if name in ("Id", "Filter")}
                kept.setdefault(place, []).append({**rest, _ARN[place]: arn, "Events": events})
    if "EventBridgeConfiguration" in value:
        notes.append(Note("notification/EventBridge", "notification-dropped", "to EventBridge"))
    count = sum(map(len, kept.values()))
    if count:
        notes.insert(0, Note("notification", "notification", f"{count} of {total}"))
    return Translated("notification", kept or None, tuple(notes), "last")
