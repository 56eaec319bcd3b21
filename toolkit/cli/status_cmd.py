"""``rehost status``: where does the run stand?"""

from __future__ import annotations

from toolkit.cli.common import AsJson, Folder, RunFolder, SiteFile, freeze_window, load_site, out, printable, where
from toolkit.status import status as look


def status(folder: Folder = None, site: SiteFile = None, run: RunFolder = None, as_json: AsJson = False) -> None:
    """Show which stages are done, what is unfinished and what to do next. Touches neither side."""
    loaded, opened = load_site(where(folder, site, run))
    found = look(opened, window=freeze_window(loaded))
    lines = [f"{found['site']}  run {found['run'][:8]}  in {found['folder']}"]
    lines += [f"  {stage:<9} {what}" for stage, what in found["stages"].items()]
    lines += [
        f"  {address}: {row['done']:,} objects, {row['bytes']:,} bytes, {row['open']} shards open,"
        f" {row['exceptions']} exceptions"
        for address, row in found["copying"].items()
    ]
    lines += [f"  {printable(one['text'])}" for one in found["forecast"]]
    lines += [f"  unfinished: {printable(address)}" for address in found["unfinished"]]
    lines.append(f"Next: `{found['next']}`.")
    out(found, as_json=as_json, text="\n".join(lines))
