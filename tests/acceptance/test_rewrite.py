"""``rehost rewrite`` as people type it: shown, refused without consent, done, verified, taken back."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.world import s3, world

SITE = """move:
  storage: {from: aws, to: store}
buckets:
  media: {to: {name: new-media}, x-aws: {cloudfront: [d111.cloudfront.net]}}
"""
OLD = b'<img src="https://media.s3.amazonaws.com/a.png"><img src="https://d111.cloudfront.net/b.png">\n'


def test_rewrite_from_plan_to_rollback(tmp_path: Path) -> None:
    with world(tmp_path) as at:
        at.write(SITE)
        old, new = s3(at.aws.store), s3(at.target.s3)
        old.create_bucket(Bucket="media")  # type: ignore[attr-defined]
        for number in range(3):
            old.put_object(Bucket="media", Key=f"{number}.html", Body=OLD, ContentType="text/html")  # type: ignore[attr-defined]

        def page(number: int) -> bytes:
            got = new.get_object(Bucket="new-media", Key=f"{number}.html")  # type: ignore[attr-defined]
            body: bytes = got["Body"].read()
            return body

        assert "no plan" in at.rehost("rewrite", "--yes", code=11).stderr
        at.rehost("plan")
        told = json.loads((at.folder / ".rehost" / "world" / "endpoints.json").read_text())
        forms = {item["old"]: item["new"] for item in told["endpoints"]["storage/bucket/media"]}
        base = f"{at.target.s3.endpoint}/new-media"
        assert forms["https://media.s3.amazonaws.com"] == base
        assert forms["https://s3.us-east-1.amazonaws.com/media"] == base
        assert forms["https://d111.cloudfront.net"] == base
        assert forms["s3://media"] == "s3://new-media"
        assert "clients" in told
        at.rehost("apply", "--yes")
        said = at.rehost("rewrite", "--dry-run")
        shown = said.stdout + said.stderr
        assert "3 objects, 6 addresses" in shown
        assert "released clients" in shown
        assert at.rehost("rewrite", code=20).stderr
        assert page(0) == OLD
        done = json.loads(at.rehost("rewrite", "--yes", "--json").stdout)
        assert done["left"] == 0
        assert page(2) == f'<img src="{base}/a.png"><img src="{base}/b.png">\n'.encode()
        assert old.get_object(Bucket="media", Key="2.html")["Body"].read() == OLD  # type: ignore[attr-defined]
        assert "No text object" in at.rehost("rewrite", "--yes").stdout
        at.rehost("verify", "--tier", "bytes")
        at.rehost("rollback", "--yes")
        assert page(2) == OLD
        at.rehost("verify", "--tier", "bytes")
