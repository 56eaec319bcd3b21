"""Default encryption: algorithms travel, keys of the old provider do not."""

from __future__ import annotations

from typing import Any

from toolkit.storage.config.scene import Note, Scene, Translated

_S3 = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


def translate(value: dict[str, Any], scene: Scene) -> Translated:
    """Return SSE-S3 where the target has it; a key service of the old provider is named as lost.

    SSE-KMS is not written even where it could be: it would need a key of the target's own key service,
    and it makes ETags that are no digests.
    """
    wanted = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in value.get("Rules", [])]
    names = {rule.get("SSEAlgorithm", "AES256") for rule in wanted}
    keys = ", ".join(sorted(str(rule["KMSMasterKeyID"]) for rule in wanted if "KMSMasterKeyID" in rule))
    can = scene.target.can("encryption")
    if names <= {"AES256"}:
        return Translated("encryption", _S3 if can else None, (Note("encryption", "encryption", "SSE-S3"),), "first")
    detail = ", ".join(sorted(names)) + (f" with {keys}" if keys else "")
    return Translated("encryption", _S3 if can else None, (Note("encryption", "encryption-kms", detail),), "first")
