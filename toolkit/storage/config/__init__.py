"""Bucket configuration, translated: what is configured at a bucket here, said in the words of the store there.

Pure: a :class:`~toolkit.storage.config.scene.Scene` enters, one ``Translated`` an item leaves. Nothing in
this folder does input or output, and nothing in it ever makes access wider or an expiry broader than it was.
"""
