"""What every pair of S3-compatible stores must show. Subclasses give the ``ends`` fixture.

T1 to T6 are the hard cases of docs/reference/storage.md. Each compares the target with the source by
boto3 alone (``tests.storage.ends``), not through the code under test.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from libcloud.storage.types import ContainerDoesNotExistError, ObjectDoesNotExistError

from tests.storage.ends import (
    Ends,
    Killed,
    Move,
    Recording,
    contents,
    fresh,
    grants,
    histories,
    identities,
    listed,
    locks,
    pause_for,
    put_raw,
    read_back,
)
from toolkit.families import Shard
from toolkit.storage.config.scene import Maps
from toolkit.storage.engine import manifest
from toolkit.storage.engine.digest import composite
from toolkit.storage.identity.map import IdentityMap
from toolkit.storage.model import Knobs

KEYS = (
    "a//b",
    "a/b",
    "a",
    "a/",
    "/lead",
    ".",
    "..",
    "x/../y",
    "x/./y",
    "y",
    "trail/",
    "+ %2B & ? # ;",
    "%",
    "plus+plus",
    " ",
    "with space",
    "\u00e9",  # composed
    "e\u0301",  # decomposed: another key
    "emoji-😀/ключ",
    "s3://bucket/key",
    "=1+1",
    "~tilde-_.!*'()",
    "quote\"and'back`\\slash",
    "<xml>&amp;",
    "\x01control",
    "new\nline",
    "k" * 1024,
)


ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


def md5_header(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


class StorageContract:
    """The cases. ``ends`` comes from the subclass."""

    @pytest.fixture
    def move(self, ends: Ends, run: Path) -> Move:
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        # The target's bucket has its own name: both ends may be one store.
        return Move(ends, run, name, to=fresh("to"))

    # -- the driver ------------------------------------------------------------------------------

    def test_driver_reads_the_right_object(self, ends: Ends) -> None:
        """The stock libcloud driver returns a/b for a//b, stops at 0x01, cannot reach .. and /lead."""
        bucket, client = fresh(), ends.source.client
        client.create_bucket(Bucket=bucket)
        driver = ends.source.driver
        container = driver.get_container(bucket)
        keys = ["a//b", "a/b", "..", "/lead", "x/../y"]
        if "versions-xml" not in ends.wrong:
            keys.append("\x01x")
        for key in keys:
            driver.upload_object_via_stream(iter([key.encode()]), container, key, {"content_type": "text/x-test"})
        assert {obj.name for obj in driver.iterate_container_objects(container)} == set(keys)
        for key in keys:
            obj = driver.get_object(bucket, key)
            assert b"".join(driver.download_object_as_stream(obj)) == key.encode()
            assert obj.extra["content_type"] == "text/x-test"
            assert obj.hash == hashlib.md5(key.encode()).hexdigest()
        driver.delete_object(driver.get_object(bucket, "a//b"))
        with pytest.raises(ObjectDoesNotExistError):
            driver.get_object(bucket, "a//b")
        assert driver.get_object(bucket, "a/b").size == 3
        with pytest.raises(ContainerDoesNotExistError):
            driver.get_container(fresh())

    def test_driver_versioning(self, ends: Ends) -> None:
        bucket, driver = fresh(), ends.target.driver
        driver.ex_create_bucket(bucket)
        driver.ex_create_bucket(bucket)
        assert driver.ex_versioning(bucket) == "off"
        assert driver.ex_versioning(bucket, "enabled") == "enabled"
        assert driver.ex_versioning(bucket, "suspended") == "suspended"

    # -- T1, T2: keys ----------------------------------------------------------------------------

    def test_keys(self, move: Move) -> None:
        client = move.ends.source.client
        keys = [key for key in KEYS if not ("\n" in key and "newline" in move.ends.wrong)]
        for key in keys:
            client.put_object(Bucket=move.bucket, Key=key, Body=f"body of {key}".encode())
        move.apply()
        assert contents(move.ends.target, move.target_bucket) == contents(move.ends.source, move.bucket)
        assert set(contents(move.ends.target, move.target_bucket)) == set(keys)
        findings, tally = move.verify("bytes")
        assert findings == []
        assert tally.total == tally.verified == len(keys)
        assert move.plan() == []

    def test_directory_markers(self, move: Move) -> None:
        client = move.ends.source.client
        for key in ("d/", "d/e/", "d/e/f/g/h/", "lonely/"):
            client.put_object(Bucket=move.bucket, Key=key, Body=b"", Metadata={"mode": "0755"})
        client.put_object(Bucket=move.bucket, Key="full/", Body=b"five5")
        client.put_object(Bucket=move.bucket, Key="d/e/file", Body=b"x")
        client.put_object(Bucket=move.bucket, Key="empty", Body=b"")
        move.apply()
        assert contents(move.ends.target, move.target_bucket) == contents(move.ends.source, move.bucket)

    # -- T3, T4: headers and metadata ------------------------------------------------------------

    def test_headers(self, move: Move) -> None:
        client = move.ends.source.client
        packed = gzip.compress(b"hello " * 100, mtime=0)
        client.put_object(
            Bucket=move.bucket,
            Key="packed.js",
            Body=packed,
            ContentType="application/javascript",
            ContentEncoding="gzip",
            CacheControl="public, max-age=31536000, immutable",
            ContentLanguage="en-GB, de",
            ContentDisposition="attachment; filename*=UTF-8''na%C3%AFve.js",
            Expires="Wed, 21 Oct 2026 07:28:00 GMT",
        )
        client.put_object(Bucket=move.bucket, Key="plain", Body=b"no type at all")
        client.put_object(Bucket=move.bucket, Key="type", Body=b"x", ContentType="Image/PNG; q=1")
        client.put_object(Bucket=move.bucket, Key="gone", Body=b"", WebsiteRedirectLocation="/elsewhere?x=1")
        move.apply()
        there = contents(move.ends.target, move.target_bucket)
        assert there == contents(move.ends.source, move.bucket)
        assert there["packed.js"]["body"] == packed
        assert there["packed.js"]["ContentEncoding"] == "gzip"
        assert there["packed.js"]["CacheControl"] == "public, max-age=31536000, immutable"
        assert move.verify("meta") == ([], move.verify("list")[1])

    def test_aws_chunked_is_stripped(self, move: Move) -> None:
        client = move.ends.source.client
        client.put_object(Bucket=move.bucket, Key="a", Body=b"x", ContentEncoding="aws-chunked,gzip")
        client.put_object(Bucket=move.bucket, Key="b", Body=b"x", ContentEncoding="aws-chunked")
        move.apply()
        there = contents(move.ends.target, move.target_bucket)
        assert there["a"]["ContentEncoding"] == "gzip"
        assert not there["b"]["ContentEncoding"]

    def test_user_metadata(self, move: Move) -> None:
        client = move.ends.source.client
        many = {f"k{number:02d}": f"value {number}" for number in range(40)}
        client.put_object(Bucket=move.bucket, Key="many", Body=b"x", Metadata=many)
        client.put_object(Bucket=move.bucket, Key="long", Body=b"x", Metadata={"long": "v" * 1900})
        client.put_object(
            Bucket=move.bucket, Key="odd", Body=b"x", Metadata={"rfc2047": "=?UTF-8?B?w6k=?=", "two-Words": "a  b"}
        )
        move.apply()
        there = contents(move.ends.target, move.target_bucket)
        assert there == contents(move.ends.source, move.bucket)
        assert there["many"]["meta"] == many

    def test_metadata_beyond_ascii(self, move: Move) -> None:
        """UTF-8, wide spaces and encoded words mean the same at the target, however a store spells them."""
        values = {
            "utf8": "caf\u00e9",
            "wide": "\u3000wide\u3000space\u3000",
            "word": "=?UTF-8?B?w6k=?=",
            "blanks": "two  blanks",
            "empty": "",
        }
        put_raw(move.ends.source, move.bucket, "odd", values)
        move.apply()
        assert move.exceptions == []
        here, there = (
            end.client.head_object(Bucket=bucket, Key="odd")["Metadata"]
            for end, bucket in ((move.ends.source, move.bucket), (move.ends.target, move.target_bucket))
        )
        assert {name: read_back(value) for name, value in there.items()} == {
            name: read_back(value) for name, value in here.items()
        }
        assert read_back(there["utf8"]) == values["utf8"]
        assert read_back(there["wide"]) == values["wide"]
        assert move.verify("meta")[0] == []

    def test_tags(self, move: Move) -> None:
        client = move.ends.source.client
        client.put_object(Bucket=move.bucket, Key="tagged", Body=b"x", Tagging="team=web&cost%20centre=4%2B2&empty=")
        client.put_object(Bucket=move.bucket, Key="bare", Body=b"x")
        move.apply()
        there = move.ends.target.client.get_object_tagging(Bucket=move.target_bucket, Key="tagged")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in there} == {"team": "web", "cost centre": "4+2", "empty": ""}
        assert move.ends.target.client.get_object_tagging(Bucket=move.target_bucket, Key="bare")["TagSet"] == []
        assert move.verify("meta")[0] == []

    # -- T7: grants and locks ----------------------------------------------------------------------

    def test_grants(self, move: Move) -> None:
        """Public and named grants travel by the identity map; a grantee nobody knows is named, not dropped silently."""
        source, target, client = move.ends.source, move.ends.target, move.ends.source.client
        (friend, stranger), (becomes, _) = source.others, target.others
        move.maps = Maps(IdentityMap(users={friend: becomes}, ids={friend: becomes}))
        me = f'id="{client.list_buckets()["Owner"]["ID"]}"'
        both = {"GrantRead": f'uri="{ALL_USERS}", id="{friend}"', "GrantReadACP": f'id="{friend}"'}
        client.put_object(Bucket=move.bucket, Key="private", Body=b"x")
        client.put_object(Bucket=move.bucket, Key="public", Body=b"x", ACL="public-read")
        client.put_object(Bucket=move.bucket, Key="shared", Body=b"x", GrantFullControl=me, **both)
        client.put_object(
            Bucket=move.bucket, Key="strange", Body=b"x", GrantRead=f'id="{stranger}"', GrantFullControl=me
        )
        self.upload(move, "parts", [5 << 20, 10], ACL="public-read")
        move.apply()
        there = {key: grants(target, move.target_bucket, key) for key in contents(target, move.target_bucket)}
        assert there == {
            "private": set(),
            "public": {(ALL_USERS, "READ")},
            "shared": {(ALL_USERS, "READ"), (becomes, "READ"), (becomes, "READ_ACP")},
            "strange": set(),
            "parts": {(ALL_USERS, "READ")},
        }
        assert [(f.feature, f.verdict, f.evidence["reason"]) for f in move.exceptions] == [
            ("strange", "degraded", "left-out")
        ]
        assert f"READ to {stranger}" in move.exceptions[0].text
        assert move.verify("meta")[0] == []
        target.client.put_object_acl(Bucket=move.target_bucket, Key="public", ACL="private")
        target.client.put_object_acl(Bucket=move.target_bucket, Key="private", ACL="public-read")
        assert {finding.feature for finding in move.verify("meta")[0]} == {"public", "private"}

    def test_locks(self, ends: Ends, run: Path) -> None:
        """Retention and legal hold of every version, each put on after its bytes were proven."""
        move = Move(ends, run, fresh("lock"), to=fresh("to"))
        for end, bucket in ((ends.source, move.bucket), (ends.target, move.target_bucket)):
            end.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        retained = {"ObjectLockRetainUntilDate": until, "ContentMD5": md5_header(b"1")}
        client = ends.source.client
        client.put_object(Bucket=move.bucket, Key="k", Body=b"1", ObjectLockMode="GOVERNANCE", **retained)
        client.put_object(Bucket=move.bucket, Key="k", Body=b"2")
        retained["ContentMD5"] = md5_header(b"3")
        client.put_object(Bucket=move.bucket, Key="k", Body=b"3", ObjectLockMode="COMPLIANCE", **retained)
        held = client.put_object(Bucket=move.bucket, Key="held", Body=b"4")["VersionId"]
        on = {"Status": "ON"}
        client.put_object_legal_hold(Bucket=move.bucket, Key="held", VersionId=held, LegalHold=on)
        move.apply()
        assert sorted(locks(ends.target, move.target_bucket)) == sorted(locks(ends.source, move.bucket))
        assert [lock[1] for lock in sorted(locks(ends.target, move.target_bucket))] == [
            "GOVERNANCE",
            "",
            "COMPLIANCE",
            "",
        ]
        assert move.exceptions == []
        assert move.verify("meta")[0] == []
        newest = next(iter(listed(ends.target.client, "list_object_versions", "Versions", move.target_bucket)))
        where = {"Bucket": move.target_bucket, "Key": newest["Key"], "VersionId": newest["VersionId"]}
        ends.target.client.put_object_legal_hold(
            **where, LegalHold={"Status": "OFF" if newest["Key"] == "held" else "ON"}
        )
        assert len(move.verify("meta")[0]) == 1

    def test_lock_towards_a_bucket_without(self, ends: Ends, run: Path) -> None:
        """A lock that the target cannot keep is named for every object that had one."""
        move = Move(ends, run, fresh("lock"), to=fresh("to"), knobs=Knobs(in_flight=2, attempts=3))
        ends.source.client.create_bucket(Bucket=move.bucket, ObjectLockEnabledForBucket=True)
        version = ends.source.client.put_object(Bucket=move.bucket, Key="held", Body=b"4")["VersionId"]
        on = {"Status": "ON"}
        ends.source.client.put_object_legal_hold(Bucket=move.bucket, Key="held", VersionId=version, LegalHold=on)
        move.without = frozenset({"object-lock"})
        move.apply()
        (finding,) = move.exceptions
        assert (finding.verdict, finding.evidence["reason"]) == ("degraded", "left-out")
        assert "legal hold" in finding.text
        assert contents(ends.target, move.target_bucket)["held"]["body"] == b"4"

    # -- T5: multipart ---------------------------------------------------------------------------

    def upload(self, move: Move, key: str, sizes: list[int], **extra: Any) -> str:
        client = move.ends.source.client
        upload = client.create_multipart_upload(Bucket=move.bucket, Key=key, **extra)["UploadId"]
        parts, digests = [], []
        for number, size in enumerate(sizes, 1):
            body = bytes((number * 31 + n) % 251 for n in range(251)) * (size // 251 + 1)
            part = client.upload_part(Bucket=move.bucket, Key=key, UploadId=upload, PartNumber=number, Body=body[:size])
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
            digests.append(hashlib.md5(body[:size]).digest())
        client.complete_multipart_upload(Bucket=move.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        return composite(digests)

    def test_multipart_even(self, move: Move) -> None:
        """Equal parts of a usual size: the ETag comes out equal on every store, asked or guessed."""
        five = 5 << 20
        etag = self.upload(move, "even", [five, five, 4321], ContentType="video/mp4", Metadata={"a": "b"})
        single = self.upload(move, "one-part", [1234])
        move.apply()
        there = contents(move.ends.target, move.target_bucket)
        assert there == contents(move.ends.source, move.bucket)
        assert there["even"]["etag"].strip('"') == etag
        assert there["one-part"]["etag"].strip('"') == single
        assert move.exceptions == []
        assert move.verify("bytes")[0] == []
        assert self.open_uploads(move) == []

    def test_multipart_uneven(self, move: Move) -> None:
        """Parts of any size: replayed where the source tells them, else converted and said so."""
        etag = self.upload(move, "uneven", [5 << 20, 6 << 20, (5 << 20) + 1, 7])
        move.apply()
        there = contents(move.ends.target, move.target_bucket)["uneven"]
        here = contents(move.ends.source, move.bucket)["uneven"]
        assert there["body"] == here["body"]
        if "part-numbers" in move.ends.source.wrong:
            assert [finding.evidence["reason"] for finding in move.exceptions] == ["converted"]
            assert there["etag"] != here["etag"]
        else:
            assert there["etag"].strip('"') == etag
            assert move.exceptions == []
        findings, tally = move.verify("bytes")
        assert findings == []
        assert tally.verified == tally.total == 1
        assert move.plan() == []
        assert self.open_uploads(move) == []

    def test_multipart_tags(self, move: Move) -> None:
        self.upload(move, "big", [5 << 20, 10])
        # Set afterwards: RGW before 19.2.4 loses the tags of a multipart upload.
        tagging = {"TagSet": [{"Key": "a", "Value": "b"}]}
        move.ends.source.client.put_object_tagging(Bucket=move.bucket, Key="big", Tagging=tagging)
        move.apply()
        tags = move.ends.target.client.get_object_tagging(Bucket=move.target_bucket, Key="big")["TagSet"]
        source = move.ends.source.client.get_object_tagging(Bucket=move.bucket, Key="big")["TagSet"]
        assert tags == source == tagging["TagSet"]

    def test_large_object_streams(self, ends: Ends, run: Path) -> None:
        """A body above the limit for small ones goes through in one stream."""
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        body = bytes(range(256)) * 4096
        ends.source.client.upload_fileobj(io.BytesIO(b"x"), name, "small")
        ends.source.client.put_object(Bucket=name, Key="large", Body=body, ContentType="a/b")
        move = Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, small=64 << 10, chunk=32 << 10))
        move.apply()
        there = contents(ends.target, move.target_bucket)
        assert there == contents(ends.source, name)
        assert there["large"]["etag"].strip('"') == hashlib.md5(body).hexdigest()

    def open_uploads(self, move: Move) -> list[Any]:
        answer = move.ends.target.client.list_multipart_uploads(Bucket=move.target_bucket)
        found: list[Any] = answer.get("Uploads", [])
        return found

    # -- T6: versions ----------------------------------------------------------------------------

    def put(self, move: Move, key: str, body: bytes) -> None:
        time.sleep(pause_for(move.ends.source))
        move.ends.source.client.put_object(Bucket=move.bucket, Key=key, Body=body)

    def delete(self, move: Move, key: str) -> None:
        time.sleep(pause_for(move.ends.source))
        move.ends.source.client.delete_object(Bucket=move.bucket, Key=key)

    def versioning(self, move: Move, status: str) -> None:
        move.ends.source.client.put_bucket_versioning(Bucket=move.bucket, VersioningConfiguration={"Status": status})

    def test_versions(self, move: Move) -> None:
        """v1, v2, marker, v3, marker; null versions written before versioning; an untouched key."""
        self.put(move, "old", b"before versioning")
        self.put(move, "both", b"null version")
        self.versioning(move, "Enabled")
        for step in (b"v1", b"v2", None, b"v3", None):
            self.delete(move, "story") if step is None else self.put(move, "story", step)
        self.put(move, "both", b"newer")
        self.put(move, "k", b"1")
        self.put(move, "k-v2016-01-01-000000-000", b"2")
        self.put(move, "same", b"equal")
        self.put(move, "same", b"equal")
        move.apply()
        here, there = histories(move.ends.source, move.bucket), histories(move.ends.target, move.target_bucket)
        assert there == here
        assert [item[0] for item in there["story"]] == [False, False, True, False, True]
        assert there["both"][0] == (False, True, b"null version")
        findings, tally = move.verify("meta")
        assert findings == []
        assert tally.total == tally.verified == sum(len(items) for items in here.values())
        assert move.plan() == []

    def test_versions_suspended(self, move: Move) -> None:
        """Null versions inside and at the end of histories, and a null delete marker."""
        if "suspended" in move.ends.wrong:
            pytest.skip("stock moto: a PUT under suspended versioning erases the history")
        self.put(move, "first", b"0")
        self.versioning(move, "Enabled")
        for key in ("first", "middle", "last", "marker"):
            self.put(move, key, b"v1 of " + key.encode())
        self.versioning(move, "Suspended")
        self.put(move, "middle", b"null in the middle")
        self.put(move, "last", b"null at the end")
        self.delete(move, "marker")
        self.versioning(move, "Enabled")
        self.put(move, "middle", b"after null")
        self.versioning(move, "Suspended")
        move.apply()
        here, there = histories(move.ends.source, move.bucket), histories(move.ends.target, move.target_bucket)
        assert there == here
        assert [item[1] for item in there["middle"]] == [False, True, False]
        assert there["marker"][-1][:2] == (True, True)
        assert move.ends.target.driver.ex_versioning(move.target_bucket) == "suspended"
        assert move.verify()[0] == []
        assert move.plan() == []

    def test_round_trip(self, move: Move, tmp_path: Path) -> None:
        """There and back again: the same order, bytes, metadata, tags, markers and null version."""
        if "versions-order" in move.ends.wrong:
            pytest.skip("stock moto: listings tell no order of versions and markers")
        client = move.ends.source.client
        self.put(move, "null", b"before versioning")
        self.versioning(move, "Enabled")
        self.put(move, "null", b"after")
        client.put_object(
            Bucket=move.bucket,
            Key="dressed",
            Body=b"x",
            ContentType="text/plain; charset=utf-8",
            CacheControl="no-store",
            Metadata={"a": "b"},
            Tagging="t=1",
        )
        self.delete(move, "dressed")
        self.put(move, "dressed", b"y")
        self.upload(move, "parts", [5 << 20, 99])
        move.apply()
        (tmp_path / "back").mkdir(mode=0o700)
        back = Move(Ends(move.ends.target, move.ends.source), tmp_path / "back", move.target_bucket, to=fresh("back"))
        back.apply()
        assert back.exceptions == []
        assert histories(move.ends.source, back.target_bucket) == histories(move.ends.source, move.bucket)
        assert contents(move.ends.source, back.target_bucket) == contents(move.ends.source, move.bucket)
        assert back.verify("meta")[0] == []
        for bucket in (move.bucket, back.target_bucket):
            listed_ = client.list_object_versions(Bucket=bucket, Prefix="dressed")["Versions"]
            tags = client.get_object_tagging(Bucket=bucket, Key="dressed", VersionId=listed_[-1]["VersionId"])
            assert tags["TagSet"] == [{"Key": "t", "Value": "1"}]

    def test_version_map(self, move: Move) -> None:
        self.versioning(move, "Enabled")
        self.put(move, "a", b"1")
        self.put(move, "a", b"2")
        self.delete(move, "a")
        move.apply()
        results = sorted((move.run / "result").glob("*.parquet"))
        told = [row for path in results for row in manifest.written(path)]
        client = move.ends.source.client
        old = [
            item["VersionId"]
            for what in ("Versions", "DeleteMarkers")
            for item in listed(client, "list_object_versions", what, move.bucket)
        ]
        client = move.ends.target.client
        new = [
            item["VersionId"]
            for what in ("Versions", "DeleteMarkers")
            for item in listed(client, "list_object_versions", what, move.target_bucket)
        ]
        assert sorted(row.source_version for row in told) == sorted(old)
        assert sorted(row.target_version for row in told) == sorted(new)

    def test_version_ids(self, move: Move) -> None:
        """Kept where the target lets a loader choose them, else told by the map; never somebody else's objects."""
        self.put(move, "null", b"before versioning")
        self.versioning(move, "Enabled")
        for body in (b"1", b"2"):
            self.put(move, "a", body)
        self.delete(move, "a")
        self.put(move, "a", b"3")
        self.upload(move, "parts", [5 << 20, 99])
        self.put(move, "null", b"after")
        move.apply()
        here = identities(move.ends.source, move.bucket)
        there = identities(move.ends.target, move.target_bucket)
        kept = move.ends.target.loader is not None
        assert (here == there) is kept
        assert [item[:2] for item in here] == [item[:2] for item in there]
        owner = move.ends.target.driver.ex_owner()
        for item in listed(move.ends.target.client, "list_object_versions", "Versions", move.target_bucket):
            assert item["Owner"]["ID"] == owner
            grants = move.ends.target.client.get_object_acl(
                Bucket=move.target_bucket, Key=item["Key"], VersionId=item["VersionId"]
            )
            assert grants["Owner"]["ID"] == owner
            assert [grant["Grantee"]["ID"] for grant in grants["Grants"]] == [owner]
        assert move.plan() == []

    def test_versions_delta(self, move: Move) -> None:
        self.versioning(move, "Enabled")
        self.put(move, "a", b"1")
        self.put(move, "b", b"1")
        move.apply()
        self.put(move, "a", b"2")
        self.delete(move, "b")
        self.put(move, "c", b"new")
        changes = move.apply()
        assert sum(change.figures.get("objects", 0) for change in changes) == 3
        assert histories(move.ends.target, move.target_bucket) == histories(move.ends.source, move.bucket)

    def test_many_versions_of_one_key(self, ends: Ends, run: Path) -> None:
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        move = Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, batch_rows=3, shard_rows=5))
        self.versioning(move, "Enabled")
        for number in range(14):
            self.put(move, "key", b"version %d" % number)
            self.put(move, f"other-{number}", b"x")
        move.apply()
        assert histories(ends.target, move.target_bucket) == histories(ends.source, name)

    # -- delta, conflict, resume, purge -----------------------------------------------------------

    def fill(self, move: Move, count: int) -> None:
        client = move.ends.source.client
        for number in range(count):
            client.put_object(Bucket=move.bucket, Key=f"k{number:04d}", Body=b"body %d" % number)

    def test_delta_refreshes_only_our_copies(self, move: Move) -> None:
        self.fill(move, 5)
        move.apply()
        source, target = move.ends.source.client, move.ends.target.client
        source.put_object(Bucket=move.bucket, Key="k0001", Body=b"changed at the source")
        source.put_object(Bucket=move.bucket, Key="k0002", Body=b"changed on both sides")
        target.put_object(Bucket=move.target_bucket, Key="k0002", Body=b"somebody else's")
        source.put_object(Bucket=move.bucket, Key="new", Body=b"new")
        target.put_object(Bucket=move.target_bucket, Key="theirs", Body=b"not ours")
        move.exceptions.clear()
        move.apply()
        there = contents(move.ends.target, move.target_bucket)
        assert there["k0001"]["body"] == b"changed at the source"
        assert there["new"]["body"] == b"new"
        assert there["k0002"]["body"] == b"somebody else's"
        assert there["theirs"]["body"] == b"not ours"
        assert [finding.evidence["reason"] for finding in move.exceptions] == ["conflict"]
        findings, tally = move.verify()
        assert {finding.verdict for finding in findings} == {"different", "extra"}
        assert (tally.total, tally.verified) == (6, 5)
        assert move.family.observe(move.plan()[0]) == "other"

    def test_existing_object_is_never_overwritten(self, move: Move) -> None:
        self.fill(move, 3)
        target = move.ends.target
        target.client.create_bucket(Bucket=move.target_bucket)
        target.client.put_object(Bucket=move.target_bucket, Key="k0001", Body=b"was here first")
        changes = move.apply()
        assert [dict(change.figures) for change in changes] == [{"objects": 2, "bytes": 12, "conflicts": 1}]
        assert contents(target, move.target_bucket)["k0001"]["body"] == b"was here first"
        assert [finding.evidence["reason"] for finding in move.exceptions] == ["conflict"]
        move.undo(changes, purge=True)
        assert set(contents(target, move.target_bucket)) == {"k0001"}

    def kill(self, move: Move, at: int) -> tuple[list[Any], Shard, Recording]:
        """Apply until commit number ``at``, then die without another word."""
        changes = move.plan()
        family = move.family
        family.do(changes[0], None)
        copy = next(change for change in changes if change.action == "copy")
        shard = next(iter(family.bulk(copy) or ()))
        lease = Recording(shard, shard.start, die_at=at)
        with pytest.raises((Killed, BaseExceptionGroup)):
            family.do(copy, lease)
        return changes, shard, lease

    def forget(self, run: Path, cursor: int) -> None:
        """A killed process writes no farewell: drop what the log says of rows that were not committed."""
        for path in (run / "log").glob("*.log"):
            lines = path.read_bytes().splitlines(keepends=True)
            told = [(line, json.loads(line.partition(b" ")[2])) for line in lines]
            kept = [line for line, what in told if what["do"] == "intent" or what.get("row", cursor) < cursor]
            path.write_bytes(b"".join(kept))

    def test_killed_shard_is_resumed(self, ends: Ends, run: Path) -> None:
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        move = Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, batch_rows=10))
        self.fill(move, 60)
        changes, shard, lease = self.kill(move, at=2)
        assert lease.cursor == 20
        again = Recording(shard, lease.cursor)
        move.family.do(next(change for change in changes if change.action == "copy"), again)
        assert again.cursor == shard.stop
        assert sum(again.commits) == 40
        assert contents(ends.target, move.target_bucket) == contents(ends.source, name)
        move.undo(changes, purge=True)
        assert move.family.observe(changes[0]) == "before"

    def test_killed_versions_are_not_doubled(self, ends: Ends, run: Path) -> None:
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        move = Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, batch_rows=10))
        self.versioning(move, "Enabled")
        for number in range(10):
            for body in (b"1", b"2", b"2"):
                self.put(move, f"k{number}", body + b"%d" % number)
        changes, shard, lease = self.kill(move, at=1)
        self.forget(run, lease.cursor)
        again = Recording(shard, lease.cursor)
        move.family.do(next(change for change in changes if change.action == "copy"), again)
        assert again.cursor == shard.stop
        assert histories(ends.target, move.target_bucket) == histories(ends.source, name)
        move.undo(changes, purge=True)
        assert move.family.observe(changes[0]) == "before"

    def test_killed_before_the_log_is_still_purged(self, ends: Ends, run: Path) -> None:
        name = fresh()
        ends.source.client.create_bucket(Bucket=name)
        move = Move(ends, run, name, to=fresh("to"), knobs=Knobs(in_flight=4, batch_rows=10))
        self.fill(move, 30)
        changes, _, lease = self.kill(move, at=1)
        self.forget(run, lease.cursor)
        ends.target.client.put_object(Bucket=move.target_bucket, Key="k0003", Body=b"changed since")
        assert len(contents(ends.target, move.target_bucket)) > 1
        move.undo(changes, purge=True)
        assert set(contents(ends.target, move.target_bucket)) == {"k0003"}

    def test_purge_removes_exactly_ours(self, move: Move) -> None:
        self.versioning(move, "Enabled")
        self.put(move, "a", b"1")
        self.put(move, "a", b"2")
        self.put(move, "b", b"1")
        self.delete(move, "b")
        changes = move.apply()
        target = move.ends.target
        target.client.put_object(Bucket=move.target_bucket, Key="a", Body=b"written by users since")
        move.undo(changes, purge=True)
        assert histories(target, move.target_bucket) == {"a": [(False, False, b"written by users since")]}
        assert histories(move.ends.source, move.bucket)["a"][0][2] == b"1"

    def test_undo_without_purge_keeps_data(self, move: Move) -> None:
        self.fill(move, 3)
        changes = move.apply()
        move.undo(changes, purge=False)
        assert contents(move.ends.target, move.target_bucket) == contents(move.ends.source, move.bucket)

    # -- verify ----------------------------------------------------------------------------------

    def test_verify_finds_planted_damage(self, move: Move) -> None:
        self.fill(move, 6)
        move.apply()
        target, bucket = move.ends.target.client, move.target_bucket
        target.delete_object(Bucket=bucket, Key="k0001")
        target.put_object(Bucket=bucket, Key="k0002", Body=b"BODY 2")  # same size, other bytes
        target.put_object(Bucket=bucket, Key="k0003", Body=b"body 3", ContentType="text/other")
        target.put_object(Bucket=bucket, Key="k0004", Body=b"body 4", Metadata={"extra": "x"})
        findings, tally = move.verify("list")
        assert {(finding.feature, finding.verdict) for finding in findings} == {
            ("k0001", "missing"),
            ("k0002", "different"),
        }
        assert (tally.total, tally.verified) == (6, 4)
        findings, tally = move.verify("meta")
        assert {finding.feature for finding in findings} == {"k0001", "k0002", "k0003", "k0004"}
        assert (tally.total, tally.verified) == (6, 2)
        findings, tally = move.verify("bytes")
        assert (tally.total, tally.verified) == (6, 2)

    def test_observe_tells_before_and_after(self, move: Move) -> None:
        self.fill(move, 2)
        create, copy = changes = move.plan()
        assert [move.family.observe(change) for change in changes] == ["before", "before"]
        move.do(create)
        assert [move.family.observe(change) for change in changes] == ["after", "before"]
        move.do(copy)
        assert [move.family.observe(change) for change in changes] == ["after", "after"]
        move.do(create)
        move.do(copy)
        assert move.plan() == []
