"""What rewriting must do on every store: the cases, to be run against a mock and a real RGW."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.storage.ends import End, Ends, Killed, Move, fresh
from toolkit.addresses import Addresses
from toolkit.errors import Conflict
from toolkit.model import Change, Finding
from toolkit.storage import rewriting
from toolkit.storage.texts import Texts

HTML = b'<a href="http://old.example/%s/a.png">x</a>\n'


class RewritingCases:
    """Move a bucket of pages, replace the old address in them, look with boto3, take it back."""

    @pytest.fixture
    def ends(self) -> Ends:
        raise NotADirectoryError("a subclass names the ends")

    def bucket(self, ends: Ends, *, versioned: bool) -> str:
        name, client = fresh("pages"), ends.source.client
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        for number in range(7):
            client.put_object(
                Bucket=name,
                Key=f"p/{number}.html",
                Body=HTML % name.encode(),
                ContentType="text/html; charset=utf-8",
                CacheControl="max-age=5",
                Metadata={"author": "someone"},
                Tagging="team=web",
            )
        client.put_object(Bucket=name, Key="plain.txt", Body=b"no address", ContentType="text/plain")
        client.put_object(Bucket=name, Key="a.png", Body=HTML % name.encode(), ContentType="image/png")
        client.put_object(
            Bucket=name, Key="z.html", Body=b"\x1f\x8b" + HTML, ContentType="text/html", ContentEncoding="gzip"
        )
        return name

    def moved(self, ends: Ends, run: Path, *, versioned: bool) -> tuple[Move, Texts]:
        name = self.bucket(ends, versioned=versioned)
        move = Move(ends, run, name, fresh("new"))
        move.apply()
        texts = Texts(target=ends.target.driver, workspace=run, hosts=("old.example",), aws=False)
        return move, texts

    def changes(self, move: Move, texts: Texts) -> tuple[list[Change], list[Finding], Addresses]:
        desired = move.desired()
        found = [form for item in desired.values() for form in texts.forms(item)]
        addresses = Addresses(found)
        seen = list(texts.rewrites(desired, addresses))
        return (
            [item for item in seen if isinstance(item, Change)],
            [item for item in seen if isinstance(item, Finding)],
            addresses,
        )

    def body(self, move: Move, key: str, end: End | None = None) -> dict[str, Any]:
        end = end or move.ends.target
        name = move.target_bucket if end is move.ends.target else move.bucket
        got = end.client.get_object(Bucket=name, Key=key)
        got["body"] = got["Body"].read()
        return dict(got)

    @pytest.mark.parametrize("versioned", [False, True])
    def test_rewritten_verified_and_taken_back(self, ends: Ends, run: Path, versioned: bool) -> None:
        move, texts = self.moved(ends, run, versioned=versioned)
        before = {f"p/{n}.html": self.body(move, f"p/{n}.html") for n in range(7)}
        ((change,), findings, _) = self.changes(move, texts)
        assert change.figures == {"objects": 7, "addresses": 7}
        assert f"old.example/{move.bucket}" in change.note
        assert [item.feature for item in findings] == ["compressed"]
        assert texts.observe(change) == "before"
        texts.do(change, None)
        assert texts.observe(change) == "after"
        assert self.changes(move, texts)[0] == []
        new = f"{ends.target.endpoint}/{move.target_bucket}/a.png".encode()
        for key, was in before.items():
            now = self.body(move, key)
            assert now["body"] == b'<a href="%s">x</a>\n' % new
            assert now["ETag"].strip('"') == hashlib.md5(now["body"]).hexdigest()
            for header in ("ContentType", "CacheControl", "Metadata"):
                assert now[header] == was[header]
            tags = ends.target.client.get_object_tagging(Bucket=move.target_bucket, Key=key)["TagSet"]
            assert tags == [{"Key": "team", "Value": "web"}]
            assert self.body(move, key, ends.source)["body"] == HTML % move.bucket.encode(), "P1: the source"
        assert self.body(move, "a.png")["body"] == HTML % move.bucket.encode()
        # The copy is still the copy of its source: nothing is found, nothing is planned.
        for tier in ("list", "meta", "bytes"):
            wrong, tally = move.verify(tier)
            assert wrong == [], tier
            assert tally.total == tally.verified == 10
        assert move.plan() == []
        texts.undo(change, purge=False)
        for key, was in before.items():
            now = self.body(move, key)
            assert now["body"] == was["body"]
            assert now["ETag"] == was["ETag"]
            assert (now["CacheControl"], now["Metadata"]) == (was["CacheControl"], was["Metadata"])
            if versioned:
                assert now["VersionId"] == was["VersionId"]
        assert texts.observe(change) == "before"
        assert move.verify("bytes")[0] == []
        texts.undo(change, purge=False)  # once more: nothing left to do

    @pytest.mark.parametrize("versioned", [False, True])
    def test_what_somebody_changed_is_left_alone(self, ends: Ends, run: Path, versioned: bool) -> None:
        move, texts = self.moved(ends, run, versioned=versioned)
        ((change,), _, _) = self.changes(move, texts)
        texts.do(change, None)
        theirs = b"written by the app since"
        ends.target.client.put_object(Bucket=move.target_bucket, Key="p/3.html", Body=theirs, ContentType="text/html")
        with pytest.raises(Conflict, match=r"1 objects were changed .* p/3\.html"):
            texts.undo(change, purge=False)
        assert self.body(move, "p/3.html")["body"] == theirs
        assert self.body(move, "p/4.html")["body"] == HTML % move.bucket.encode()

    def test_an_object_that_changes_between_read_and_write(
        self, ends: Ends, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        move, texts = self.moved(ends, run, versioned=False)
        ((change,), _, _) = self.changes(move, texts)
        theirs = HTML % move.bucket.encode() + b"and more"
        meanwhile = self.between(monkeypatch, lambda: self.put(move, "p/3.html", theirs))
        texts.do(change, None)
        assert meanwhile == ["done"]
        assert self.body(move, "p/3.html")["body"] == theirs
        assert texts.observe(change) == "before"  # apply says so, and the next run takes the new one
        texts.do(change, None)
        assert texts.observe(change) == "after"
        assert self.body(move, "p/3.html")["body"].endswith(b"and more")
        texts.undo(change, purge=False)
        assert self.body(move, "p/3.html")["body"] == theirs

    def put(self, move: Move, key: str, body: bytes) -> None:
        move.ends.target.client.put_object(Bucket=move.target_bucket, Key=key, Body=body, ContentType="text/html")

    def between(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[str]:
        """Do something after objects were read and remembered, before they are written; once."""
        done: list[str] = []
        real = rewriting._remember

        def remember(place: Any, found: Any) -> None:
            real(place, found)
            if not done:
                done.append("done")
                act()

        monkeypatch.setattr(rewriting, "_remember", remember)
        return done

    @pytest.mark.parametrize("versioned", [False, True])
    @pytest.mark.parametrize("after", [0, 3])
    def test_p3_killed_in_the_middle_and_run_again(
        self, ends: Ends, run: Path, monkeypatch: pytest.MonkeyPatch, versioned: bool, after: int
    ) -> None:
        move, texts = self.moved(ends, run, versioned=versioned)
        ((change,), _, _) = self.changes(move, texts)
        real, written = rewriting._write, []

        async def write(store: Any, total: Any, item: Any) -> None:
            if len(written) == after:
                raise Killed
            written.append(item.entry.key)
            await real(store, total, item)
            await asyncio.sleep(0)

        with monkeypatch.context() as patch:
            patch.setattr(rewriting, "_write", write)
            with pytest.raises((Killed, BaseExceptionGroup)):
                texts.do(change, None)
        texts.do(change, None)
        assert texts.observe(change) == "after"
        assert move.verify("bytes")[0] == []
        texts.undo(change, purge=False)
        for number in range(7):
            assert self.body(move, f"p/{number}.html")["body"] == HTML % move.bucket.encode()
        assert move.verify("bytes")[0] == []

    @pytest.mark.parametrize("versioned", [False, True])
    def test_a_delta_after_rewriting(self, ends: Ends, run: Path, versioned: bool) -> None:
        """The source goes on: its newer page comes over, and is rewritten in its turn."""
        move, texts = self.moved(ends, run, versioned=versioned)
        ((change,), _, _) = self.changes(move, texts)
        texts.do(change, None)
        newer = HTML % move.bucket.encode() + b"newer"
        ends.source.client.put_object(Bucket=move.bucket, Key="p/2.html", Body=newer, ContentType="text/html")
        changes = move.apply()
        assert sum(item.figures.get("objects", 0) for item in changes) == 1
        assert sum(item.figures.get("conflicts", 0) for item in changes) == 0
        assert self.body(move, "p/2.html")["body"] == newer
        ((again,), _, _) = self.changes(move, texts)
        assert again.figures["objects"] == 1
        texts.do(again, None)
        assert self.body(move, "p/2.html")["body"].endswith(b"newer")
        assert b"old.example" not in self.body(move, "p/2.html")["body"]
        assert move.verify("bytes")[0] == []
        assert move.plan() == []

    def test_grants_stay(self, ends: Ends, run: Path) -> None:
        move, texts = self.moved(ends, run, versioned=False)
        client = ends.target.client
        client.put_object_acl(Bucket=move.target_bucket, Key="p/1.html", ACL="public-read")
        ((change,), _, _) = self.changes(move, texts)
        texts.do(change, None)
        grants = client.get_object_acl(Bucket=move.target_bucket, Key="p/1.html")["Grants"]
        assert "READ" in {grant["Permission"] for grant in grants}
        assert len(client.get_object_acl(Bucket=move.target_bucket, Key="p/2.html")["Grants"]) == 1
