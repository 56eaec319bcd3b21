"""Listings of the mocked S3, written anew: moto's copy the whole bucket for every page.

Enters: the key store of a bucket and the query of a listing. Leaves: the XML body. What differs
from moto 5.2.5: versions of one instant keep their order, ``key-marker`` alone starts *after* that
key, ``encoding-type=url`` is obeyed for versions too, uploads are paged, and a page of a bucket
with 100,000 keys costs a binary search instead of 100,000 copies. Raises :class:`S3Failure`.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape as xml_escape

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_OWNER = "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner>"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\ufffe\uffff]")


class S3Failure(Exception):
    """An S3 error answer. ``headers`` are sent along."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Query:
    """What a listing was asked for. ``url`` says that keys are to be percent-encoded."""

    prefix: str
    delimiter: str
    limit: int
    url: bool

    def text(self, name: str) -> str:
        """Return ``name`` as it may stand in the XML body."""
        if self.url:
            return quote(name, safe="/")
        return _CONTROL.sub(lambda found: f"&#x{ord(found[0]):X};", xml_escape(name))


def query_of(args: Mapping[str, str], *, limit: str = "max-keys") -> Query:
    """Parse the parameters that all listings share."""
    try:
        most = int(args.get(limit) or 1000)
    except ValueError as exc:
        raise S3Failure(400, "InvalidArgument", f"Provided {limit} not an integer or within integer range") from exc
    if most < 0:
        raise S3Failure(400, "InvalidArgument", f"Argument {limit} must be an integer between 0 and 2147483647")
    return Query(
        args.get("prefix") or "", args.get("delimiter") or "", min(most, 1000), args.get("encoding-type") == "url"
    )


def _names_after(names: Sequence[str], prefix: str, after: str) -> Iterator[str]:
    """Yield the sorted names that start with ``prefix`` and sort after ``after``."""
    start = bisect_left(names, prefix) if prefix else 0
    if after:
        start = max(start, bisect_right(names, after))
    for index in range(start, len(names)):
        if not names[index].startswith(prefix):
            return
        yield names[index]


def _group(name: str, query: Query) -> str:
    """Return the common prefix that ``name`` folds into, or nothing."""
    if not query.delimiter:
        return ""
    cut = name.find(query.delimiter, len(query.prefix))
    return name[: cut + len(query.delimiter)] if cut >= 0 else ""


def _page(store: Any, query: Query, after: str) -> tuple[list[Any], list[str], str]:
    """Return the objects and common prefixes of one page, and the last name if there is more."""
    found: list[Any] = []
    folders: list[str] = []
    last = folder = ""
    for name in _names_after(store.order(), query.prefix, after):
        if folder and name.startswith(folder):
            continue
        versions = dict.__getitem__(store, name)
        if not versions or not hasattr(versions[-1], "contentsize"):
            continue  # the latest version is a delete marker
        group = _group(name, query)
        if group and group <= after:
            continue
        if len(found) + len(folders) >= query.limit:
            return found, folders, last
        if group:
            folder = last = group
            folders.append(group)
        else:
            last = name
            found.append(versions[-1])
    return found, folders, ""


def _entry(key: Any, query: Query, owner: str) -> str:
    return (
        f"<Contents><Key>{query.text(key.name)}</Key><LastModified>{key.last_modified_ISO8601}</LastModified>"
        f"<ETag>&quot;{key.etag[1:-1]}&quot;</ETag><Size>{key.size}</Size>{owner}"
        f"<StorageClass>{key.storage_class}</StorageClass></Contents>"
    )


def _folders(folders: Sequence[str], query: Query) -> str:
    return "".join(f"<CommonPrefixes><Prefix>{query.text(name)}</Prefix></CommonPrefixes>" for name in folders)


def _head(bucket: Any, query: Query, kind: str) -> str:
    delimiter = f"<Delimiter>{query.text(query.delimiter)}</Delimiter>" if query.delimiter else ""
    encoding = "<EncodingType>url</EncodingType>" if query.url else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} {_XMLNS}><Name>{bucket.name}</Name>'
        f"<Prefix>{query.text(query.prefix)}</Prefix>{delimiter}{encoding}"
    )


def list_objects(bucket: Any, args: Mapping[str, str]) -> str:
    """Return one page of ListObjects (version 1)."""
    query = query_of(args)
    marker = args.get("marker") or ""
    found, folders, last = _page(bucket.keys, query, marker)
    more = f"<NextMarker>{query.text(last)}</NextMarker>" if last and query.delimiter else ""
    return (
        f"{_head(bucket, query, 'ListBucketResult')}<Marker>{query.text(marker)}</Marker>{more}"
        f"<MaxKeys>{query.limit}</MaxKeys><IsTruncated>{str(bool(last)).lower()}</IsTruncated>"
        f"{''.join(_entry(key, query, _OWNER) for key in found)}{_folders(folders, query)}</ListBucketResult>"
    )


def list_objects_v2(bucket: Any, args: Mapping[str, str]) -> str:
    """Return one page of ListObjectsV2."""
    query = query_of(args)
    token = args.get("continuation-token")
    start = args.get("start-after") or ""
    found, folders, last = _page(bucket.keys, query, _untoken(token) if token is not None else start)
    owner = _OWNER if args.get("fetch-owner") == "true" else ""
    given = f"<ContinuationToken>{xml_escape(token)}</ContinuationToken>" if token else ""
    more = f"<NextContinuationToken>{_token(last)}</NextContinuationToken>" if last else ""
    started = f"<StartAfter>{query.text(start)}</StartAfter>" if start and not token else ""
    return (
        f"{_head(bucket, query, 'ListBucketResult')}{given}{more}{started}"
        f"<KeyCount>{len(found) + len(folders)}</KeyCount><MaxKeys>{query.limit}</MaxKeys>"
        f"<IsTruncated>{str(bool(last)).lower()}</IsTruncated>"
        f"{''.join(_entry(key, query, owner) for key in found)}{_folders(folders, query)}</ListBucketResult>"
    )


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _untoken(token: str) -> str:
    try:
        if token:
            return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise S3Failure(400, "InvalidArgument", "The continuation token provided is incorrect") from exc
    raise S3Failure(400, "InvalidArgument", "The continuation token provided is incorrect")


def _versions_after(bucket: Any, query: Query, key_marker: str, version_marker: str) -> Iterator[tuple[Any, bool]]:
    """Yield (version or delete marker, is it the latest), newest first within a key."""
    if version_marker:
        versions = list(reversed(bucket.keys.getlist(key_marker) or []))
        ids = [version.version_id for version in versions]
        for version in versions[ids.index(version_marker) + 1 :] if version_marker in ids else []:
            yield version, False
    for name in _names_after(bucket.keys.order(), query.prefix, key_marker):
        for index, version in enumerate(reversed(dict.__getitem__(bucket.keys, name))):
            yield version, index == 0


def list_versions(bucket: Any, args: Mapping[str, str]) -> str:
    """Return one page of ListObjectVersions."""
    query = query_of(args)
    key_marker, version_marker = args.get("key-marker") or "", args.get("version-id-marker") or ""
    if version_marker and not key_marker:
        raise S3Failure(400, "InvalidArgument", "A version-id marker cannot be specified without a key marker.")
    rows: list[str] = []
    folders: list[str] = []
    last: tuple[str, str] | None = None
    truncated = False
    for version, latest in _versions_after(bucket, query, key_marker, version_marker):
        group = _group(version.name, query)
        if group and (group <= key_marker or (folders and folders[-1] == group)):
            continue
        if len(rows) + len(folders) >= query.limit:
            truncated = query.limit > 0
            break
        if group:
            folders.append(group)
            last = (group, "")
        else:
            rows.append(_version_entry(version, latest=latest, query=query))
            last = (version.name, version.version_id)
    more = ""
    if truncated and last is not None:
        next_version = f"<NextVersionIdMarker>{last[1]}</NextVersionIdMarker>" if last[1] else ""
        more = f"<NextKeyMarker>{query.text(last[0])}</NextKeyMarker>{next_version}"
    return (
        f"{_head(bucket, query, 'ListVersionsResult')}<KeyMarker>{query.text(key_marker)}</KeyMarker>"
        f"<VersionIdMarker>{xml_escape(version_marker)}</VersionIdMarker>{more}<MaxKeys>{query.limit}</MaxKeys>"
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{''.join(rows)}{_folders(folders, query)}"
        "</ListVersionsResult>"
    )


def _version_entry(version: Any, *, latest: bool, query: Query) -> str:
    shared = (
        f"<Key>{query.text(version.name)}</Key><VersionId>{version.version_id}</VersionId>"
        f"<IsLatest>{str(latest).lower()}</IsLatest><LastModified>{version.last_modified_ISO8601}</LastModified>"
    )
    if not hasattr(version, "contentsize"):
        return f"<DeleteMarker>{shared}{_OWNER}</DeleteMarker>"
    return (
        f"<Version>{shared}<ETag>&quot;{version.etag[1:-1]}&quot;</ETag><Size>{version.size}</Size>"
        f"<StorageClass>{version.storage_class}</StorageClass>{_OWNER}</Version>"
    )


def list_uploads(bucket: Any, args: Mapping[str, str]) -> str:
    """Return one page of ListMultipartUploads."""
    query = query_of(args, limit="max-uploads")
    marker = (args.get("key-marker") or "", args.get("upload-id-marker") or "")
    uploads = sorted(
        (
            upload
            for upload in bucket.multiparts.values()
            if upload.key_name.startswith(query.prefix)
            and ((upload.key_name, upload.id) > marker if marker[1] else upload.key_name > marker[0])
        ),
        key=lambda upload: (upload.key_name, upload.id),
    )
    page = uploads[: query.limit]
    more = ""
    if len(uploads) > len(page) and page:
        more = (
            f"<NextKeyMarker>{query.text(page[-1].key_name)}</NextKeyMarker>"
            f"<NextUploadIdMarker>{page[-1].id}</NextUploadIdMarker>"
        )
    rows = "".join(
        f"<Upload><Key>{query.text(upload.key_name)}</Key><UploadId>{upload.id}</UploadId>{_OWNER}"
        f"<StorageClass>{upload.storage or 'STANDARD'}</StorageClass><Initiated>{upload.initiated}</Initiated></Upload>"
        for upload in page
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListMultipartUploadsResult {_XMLNS}><Bucket>{bucket.name}</Bucket>'
        f"<KeyMarker>{query.text(marker[0])}</KeyMarker><UploadIdMarker>{xml_escape(marker[1])}</UploadIdMarker>{more}"
        f"{'<EncodingType>url</EncodingType>' if query.url else ''}<Prefix>{query.text(query.prefix)}</Prefix>"
        f"<MaxUploads>{query.limit}</MaxUploads><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{rows}"
        "</ListMultipartUploadsResult>"
    )


def list_parts(upload: Any, key_name: str, args: Mapping[str, str]) -> str:
    """Return one page of ListParts; part numbers may have gaps."""
    query = query_of(args, limit="max-parts")
    marker = int(args.get("part-number-marker") or 0)
    numbers = [number for number in upload.partlist if number > marker]
    page = numbers[: query.limit]
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><LastModified>{upload.parts[number].last_modified_ISO8601}"
        f"</LastModified><ETag>&quot;{upload.parts[number].etag[1:-1]}&quot;</ETag>"
        f"<Size>{upload.parts[number].size}</Size></Part>"
        for number in page
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListPartsResult {_XMLNS}><Key>{query.text(key_name)}</Key>'
        f"<UploadId>{upload.id}</UploadId>{_OWNER}<StorageClass>{upload.storage or 'STANDARD'}</StorageClass>"
        f"<PartNumberMarker>{marker}</PartNumberMarker><NextPartNumberMarker>{page[-1] if page else 0}"
        f"</NextPartNumberMarker><MaxParts>{query.limit}</MaxParts>"
        f"<IsTruncated>{str(len(numbers) > len(page)).lower()}</IsTruncated>{rows}</ListPartsResult>"
    )
