"""Every item of the catalogue: pass, fail, unknown and stale; and the two shipped states, item by item."""

from __future__ import annotations

import copy
import datetime

import pytest
from typer.testing import CliRunner

from tests.exitplan.plans import AFTER, JANUARY, SEED, Change, Doc, document, items, judged, put, row
from toolkit.cli.main import app
from toolkit.exitplan import judge

#: The state of every item in January 2021, with what its reason must say.
IN_JANUARY: dict[str, tuple[str, str]] = {
    **dict.fromkeys(["D3", "D6", "D7", "N2", "N7", "C2", "C3", "C4", "C5", "C7", "I1", "I3"], ("unknown", "")),
    **dict.fromkeys(["I4", "M3", "M4", "S1", "S2", "S3", "A1", "A2", "A3", "A4", "L1", "L3"], ("unknown", "")),
    **dict.fromkeys(["L4", "L5", "L6", "L7", "L9", "K1", "K4", "O1", "H1", "H3", "H4", "R1"], ("unknown", "")),
    **dict.fromkeys(["R2", "B1", "E3"], ("unknown", "")),
    **dict.fromkeys(["D4", "K2", "X1", "X2", "E1", "E2"], ("n/a", "phase")),
    "D1": ("fail", "agora-media.bytes"),
    "D2": ("fail", "shares account, billing, kms"),
    "D5": ("n/a", "no store lies in the tier archive"),
    "D8": ("fail", "NO-GO"),
    "N1": ("fail", "aws hosts the site and can take the name"),
    "N3": ("fail", "one operator"),
    "N4": ("fail", "parent NS TTL 48 h > notice 29 h"),
    "N5": ("fail", "3600"),
    "N6": ("fail", "the status page lives at aws"),
    "C1": ("fail", "alias"),
    "C6": ("fail", "no shield"),
    "I2": ("fail", "trial"),
    "M1": ("fail", "no second sender"),
    "M2": ("fail", "sign-up went through"),
    "P1": ("n/a", "no vendor of the kind payments"),
    "L2": ("n/a", "data_act: no"),
    "L8": ("fail", "apple"),
    "K3": ("fail", "nothing slows down"),
    "H2": ("fail", "promises 36h"),
}
#: After the move everything passes, but for these.
AFTERWARDS: dict[str, tuple[str, str]] = {
    "D5": ("n/a", "no store lies in the tier archive"),
    "P1": ("n/a", "no vendor of the kind payments"),
    "L2": ("n/a", "data_act: no"),
    "N2": ("waived", "locks it for 60 days"),
    **dict.fromkeys(["M4", "A3", "H1", "H2", "H4"], ("attested", "")),
}
MOCKED = {"C5", "C7", "M1", "M2", "A2", "R2"}

#: Item → a change of the state after the move that makes it fail, and what the reason must say then.
BREAKS: dict[str, tuple[Change, str]] = {
    "D1": (put("observed/stores/value/agora-media/owner", ""), "agora-media.owner"),
    "D2": (put("observed/copies/value/outside/0/kms", "own-keys"), "shares kms"),
    "D3": (put("observed/restore_drill/value/measured", "5h"), "longer than the RTO"),
    "D4": (put("observed/equality/value/hash", "etag"), "ETag"),
    "D6": (put("observed/db_restore/value/foreign", ["pg_vendor"]), "pg_vendor"),
    "D7": (put("observed/encryption/value/provider_only", ["disk-1"]), "disk-1"),
    "D8": (put("deadline/outside", 0.0), "NO-GO"),
    "N1": (put("observed/registrar/value/mfa", False), "no second factor"),
    "N2": (put("observed/domain/value/expires", "2021-04-01"), "expires in 30 days"),
    "N3": (put("observed/operators/value/differences", 2), "do not serve the same"),
    "N4": (put("observed/operators/value/distinct", 1), "48 h > notice 29 h"),
    "N5": (put("observed/zone/value/portable", False), "would not survive"),
    "N6": (put("observed/status_page/value/answers/1/status", 503), "1 places"),
    "N7": (put("observed/leaks/value/dangling", ["old.agora.example"]), "old.agora.example"),
    "C1": (put("observed/replacements/value/unmapped", ["compute/server/x"]), "compute/server/x"),
    "C2": (put("observed/rebuild/value/measured", "6h"), "longer than the RTO"),
    "C3": (put("observed/images/value/missing", ["debian-10"]), "debian-10"),
    "C4": (put("observed/capacity/value/offered", 110), "1.2 × peak"),
    "C5": (put("observed/runtime_calls/value/found", ["app.py:3"]), "app.py:3"),
    "C6": (put("observed/shield/value/origin_refuses", False), "answers whoever"),
    "C7": (put("observed/offline_tools/value/check_ok", False), "without the provider"),
    "I1": (put("observed/users/value/logins_failed", 3), "could not log in"),
    "I2": (put("observed/admins/value/systems/0/plan", "trial"), "trial"),
    "I3": (put("observed/reentry/value/headroom", 0.4), "surge"),
    "I4": (put("observed/mfa/value/vendor_bound_share", 0.4), "one vendor"),
    "M1": (put("observed/sms/value/senders/1/tested", False), "no second sender"),
    "M2": (put("observed/verification/value/signup_refused", False), "sign-up went through"),
    "M3": (put("observed/mail/value/senders/1/dkim", False), "no second sender"),
    "S1": (put("observed/support_export/value/loaded", False), "never loaded"),
    "S2": (put("observed/support_address/value/own_domain", False), "address of the vendor"),
    "S3": (put("observed/chat_export/value/off_platform", False), "in the chat itself"),
    "A1": (put("observed/mobile_web/value/journey_ok", False), "fails without the app"),
    "A2": (put("observed/clients/value/old_build_reached_new_host", False), "old build"),
    "A4": (put("observed/signing_keys/value/not_escrowed", ["android"]), "android"),
    "L1": (put("vendors/second-dns/schedule", "90d"), "second-dns: leaving takes"),
    "L3": (put("observed/canary/value/minutes", 50), "took longer"),
    "L4": (put("observed/waiver/value/state", "none"), "no request"),
    "L5": (put("vendors/own-host/rests_on", ["a large company"]), "a large company can remove"),
    "L6": (put("observed/residency/value/without_contract", ["x"]), "no contract"),
    "L7": (put("preservation/orders", [{"name": "order 12"}]), "order 12"),
    "L8": (put("returns/conditions/0/due", "2021-02-26"), "was due"),
    "L9": (put("vendors/own-host/facts/upstream", "unknown"), "own-host.upstream"),
    "K1": (put("observed/secrets/value/provider_names", ["arn:aws:s3:::x"]), "arn:aws"),
    "K2": (put("observed/rotation/value/still_accepted", ["AKIA…"]), "still work"),
    "K3": (put("observed/scrape/value/exif_stripped", False), "pictures"),
    "K4": (put("observed/logs/value/chain_ok", False), "chain"),
    "O1": (put("observed/probes/value/alert_arrived", False), "no alert"),
    "H2": (put("promises/0/back_within", "1h"), "promises 1h"),
    "H3": (put("observed/out_of_band/value/reached", 1), "fewer than two"),
    "R1": (put("drills/0/steps/1/actual", "9h"), "the RTO is 4 h"),
    "R2": (put("drills/3/variant", ""), "notice of 0h"),
    "X1": (put("observed/logs/value/chain_ok", True), ""),  # broken below: it needs another blocker to be open
    "X2": (put("observed/freeze/value/hours", 9), "longer than the window"),
    "B1": (put("observed/rollback/value/hostile", "later"), "nobody said"),
    "E1": (put("observed/independence/value/days", 2), "fewer than 7 days"),
    "E2": (put("observed/old_side/value/last_bill", 12), "still bills"),
    "E3": (put("observed/bundle/value/verified_offline", False), "could not be verified"),
}
BREAKS["X1"] = (put("observed/canary/value/minutes", 50), "1 blockers are open: L3")
AUTOMATIC = [name for name, item in items().items() if item.mode in ("A", "H")]
#: Automatic items that the sample site has none of get a site's worth of evidence here.
EXTRA: dict[str, tuple[Doc, Change, str]] = {
    "D5": ({"retrieval_h": 12}, put("observed/archive/value/retrieval_h", 40), "longer than the hours left"),
    "L2": (
        {"letters": True, "transition_days": 30, "notice_days": 60, "retrieval_days": 30},
        put("observed/data_act/value/transition_days", 200),
        "more than 30 days",
    ),
    "P1": (
        {
            "providers": [{"vendor": "a", "charged": True}, {"vendor": "b", "charged": True}],
            "tokens_portable": True,
            "runway_days": 60,
        },
        put("observed/payments/value/runway_days", 5),
        "30 days",
    ),
}


def good(item: str) -> Doc:
    """The state after the move, so extended that the item is asked."""
    doc = document()
    if item in EXTRA:
        name = items()[item].needs[0]
        doc["observed"][name] = {
            "value": copy.deepcopy(EXTRA[item][0]),
            "at": "2021-03-01",
            "kind": "real",
            "collector": "test",
        }
        doc["observed"]["stores"]["value"]["agora-backups"]["tier"] = "archive"
        doc["deadline"]["data_act"] = True
        doc["vendors"]["pay"] = {**doc["vendors"]["first-sms"], "kind": "payments", "rests_on": ["a bank"]}
        doc["attested"]["P1"] = doc["attested"]["M1"]
    if item == "N2":
        doc["waived"] = []
        doc["observed"]["domain"]["value"]["locked_until"] = "2021-02-01"
    return doc


def test_there_are_sixty_items_and_four_more() -> None:
    found = list(items().values())
    asked = [item for item in found if item.id not in ("L6", "L7", "L8", "L9")]
    modes = [item.mode for item in asked]
    assert (len(asked), modes.count("A"), modes.count("H"), modes.count("M")) == (60, 46, 9, 5)
    assert 12 <= sum(item.small for item in found) <= 18
    assert all(item.maps for item in found)
    for scheme in ("DA.", "DORA.", "EBA.", "SS2/21", "NIST.", "RTS.10"):
        assert any(any(clause.startswith(scheme) for clause in item.maps) for item in found), scheme
    assert {name for item in found for name in item.depends_on} <= set(items())


def test_every_automatic_item_has_its_break() -> None:
    assert set(BREAKS) | set(EXTRA) == set(AUTOMATIC) | {"H2"}


@pytest.mark.parametrize("item", AUTOMATIC)
def test_pass(item: str) -> None:
    found = row(good(item), item)
    assert (found.state, found.closed) == ("pass", True), found.text
    assert (found.label == "pass (mock)") == (item in MOCKED)
    assert found.at is not None


@pytest.mark.parametrize("item", AUTOMATIC)
def test_fail(item: str) -> None:
    doc = good(item)
    change, reason = BREAKS[item] if item in BREAKS else EXTRA[item][1:]
    change(doc)
    found = row(doc, item)
    assert (found.state, found.closed) == ("fail", False), found.text
    assert reason in found.text


def forget(doc: Doc, item: str) -> None:
    """Take away what an item is judged by."""
    for name in items()[item].needs:
        doc["observed"].pop(name, None)
    parts = {
        "vendor_files": "vendors",
        "shared_authority": "vendors",
        "new_host": "vendors",
        "preservation": "preservation",
    }
    parts |= {"returns": "returns", "full_drill": "drills", "stressed_drills": "drills", "deadline": "deadline"}
    if part := parts.get(items()[item].rule):
        doc.pop(part, None)


@pytest.mark.parametrize("item", [name for name in AUTOMATIC if name != "X1"])  # X1 asks the others, not the world
def test_unknown(item: str) -> None:
    doc = good(item)
    forget(doc, item)
    found = row(doc, item)
    assert (found.state, found.closed) == ("unknown", False), found.text


@pytest.mark.parametrize("item", [name for name in AUTOMATIC if name != "X1"])
def test_stale(item: str) -> None:
    """Everything as it was, judged when the evidence is too old: never a pass, whatever it says."""
    doc = good(item)
    later = datetime.datetime(2021, 3, 1, 12, tzinfo=datetime.UTC) + datetime.timedelta(hours=items()[item].ttl_h + 1)
    # What has a date of its own (a copy's age, a contract's end) is kept young: the age of the evidence is meant.
    doc["observed"]["copies"]["value"]["outside"][0]["newest"] = later.isoformat()
    doc["observed"]["domain"]["value"]["expires"] = "2031-01-01"
    doc["observed"]["capacity"]["value"]["until"] = "2031-01-01"
    doc["returns"]["conditions"][0]["due"] = "2031-01-01"
    doc["drills"][0]["retest"] = "2031-01-01"
    found = row(doc, item, now=later)
    assert (found.state, found.closed) == ("stale", False), found.text


@pytest.mark.parametrize("item", AUTOMATIC)
def test_evidence_from_the_future_is_no_pass(item: str) -> None:
    found = row(good(item), item, now=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert found.state != "pass"


@pytest.mark.parametrize("item", [name for name in AUTOMATIC if items()[name].needs])
def test_evidence_of_another_shape_is_unknown_and_no_crash(item: str) -> None:
    for value in ("yes", [], 7, {}, {"value": {}}):
        doc = good(item)
        for name in items()[item].needs:
            doc["observed"][name]["value"] = value
        found = row(doc, item)
        assert found.state in ("unknown", "fail"), (value, found.text)


def test_the_state_of_january_item_by_item() -> None:
    found = judge.by_id(judged(document(JANUARY)))
    assert set(found) == set(IN_JANUARY)
    for name, (state, reason) in IN_JANUARY.items():
        assert found[name].state == state, f"{name}: {found[name].text}"
        assert reason in found[name].text, name
    pre = {name for name, one in found.items() if one.pre and not one.closed}
    assert {"D2", "N1", "N3", "N4", "N6", "M1", "I2", "R1"} <= pre  # too late, once the message has come


def test_the_state_after_the_move_item_by_item() -> None:
    found = judge.by_id(judged(document()))
    for name, one in found.items():
        state, reason = AFTERWARDS.get(name, ("pass", ""))
        assert (one.state, one.closed) == (state, True), f"{name}: {one.text}"
        assert reason in one.text, name
        assert (one.kind == "mock") == (name in MOCKED)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["exit", *words])
    return done.exit_code, done.output


def test_the_command_on_both_states() -> None:
    code, output = run("check", str(SEED), "--state", str(JANUARY), "--notice", "29h")
    assert code == 1
    assert "Shortest survivable notice: 6.7 d" in output
    for reason in ("shares account, billing, kms", "48 h > notice 29 h", "no second sender", "trial", "lives at aws"):
        assert reason in output
    assert "one decision of aws removes: aws, domains-at-the-host, route53" in output
    code, output = run("check", str(SEED), "--state", str(AFTER), "--notice", "29h")
    assert code == 0, output
    assert "The gate is open." in output
    assert "6 pass (mock)" in output
    # A shorter notice than the shortest survivable one shuts it again, and so does time.
    assert run("check", str(SEED), "--state", str(AFTER), "--notice", "8h")[0] == 1
    assert run("check", str(SEED), "--state", str(AFTER), "--as-of", "2021-06-30")[0] == 1
