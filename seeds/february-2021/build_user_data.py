"""Write user-data/ from app/: the three forms in which cloud-init documents come, and their digests into site.yaml.

    python3 build_user_data.py            rewrite user-data/* and every sha256 in site.yaml that stands beside a file
    python3 build_user_data.py --check    write nothing; exit 1 if anything is stale

status-1 gets a plain #cloud-config, media-1 a gzip-compressed one, web-1 a MIME multipart of a cloud-config and
a shell script. Each installs the app and a systemd unit that waits for /etc/agora.env, which is not in here:
secrets and addresses come from whoever runs the machine.
"""

import base64
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = ("agora.py", "agora_data.py", "agora_http.py")
LIMIT = 16_384  # bytes, before base64: what EC2 takes
BOUNDARY = "==agora=="
UNIT = """\
[Unit]
Description=Agora, {role}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
User=agora
WorkingDirectory=/opt/agora
EnvironmentFile=-/etc/agora.env
# The environment may come later than this unit: fail and be started again until it is there.
ExecStartPre=/usr/bin/test -e /etc/agora.env
ExecStart=/usr/bin/python3 /opt/agora/agora.py {role}
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
COMMANDS = (
    ("useradd", "--system", "--no-create-home", "--home-dir", "/opt/agora", "--shell", "/usr/sbin/nologin", "agora"),
    ("install", "-d", "-o", "agora", "-g", "agora", "-m", "0750", "/opt/agora"),
    ("systemctl", "daemon-reload"),
    ("systemctl", "enable", "--now", "--no-block", "agora.service"),
)


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def block(text: str) -> str:
    return "".join(f"      {line}\n" if line else "\n" for line in text.splitlines())


def write_files(role: str, app: Mapping[str, bytes], *, plain: bool) -> str:
    """The write_files section; ``plain`` leaves the sources readable, for a document that is compressed as a whole."""
    lines = ["write_files:\n"]
    for name, data in app.items():
        lines.append(f"  - path: /opt/agora/{name}\n    permissions: '0644'\n")
        if plain:
            lines.append(f"    content: |\n{block(data.decode())}")
        else:
            lines.append(f"    encoding: gz+b64\n    content: {packed(data)}\n")
    lines.append(f"  - path: /etc/systemd/system/agora.service\n    content: |\n{block(UNIT.format(role=role))}")
    return "".join(lines)


def cloud_config(role: str, app: Mapping[str, bytes], *, plain: bool) -> str:
    commands = "".join(f"  - {json.dumps(command)}\n" for command in COMMANDS)  # quoted: a bare 0750 is 488 in YAML
    return f"#cloud-config\n{write_files(role, app, plain=plain)}runcmd:\n{commands}"


def multipart(role: str, app: Mapping[str, bytes]) -> str:
    script = "#!/bin/sh\n" + "".join(" ".join(command) + "\n" for command in COMMANDS)
    parts = {
        "cloud-config": "#cloud-config\n" + write_files(role, app, plain=False),
        "x-shellscript": script,
    }
    text = f'Content-Type: multipart/mixed; boundary="{BOUNDARY}"\nMIME-Version: 1.0\n\n'
    for kind, part in parts.items():
        head = f'Content-Type: text/{kind}; charset="us-ascii"\nMIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n'
        name = f'Content-Disposition: attachment; filename="agora.{kind}"\n'
        text += f"--{BOUNDARY}\n{head}{name}\n{part}\n"
    return f"{text}--{BOUNDARY}--\n"


def build() -> dict[str, bytes]:
    """File name → user-data, as it is handed to the provider."""
    app = {name: (HERE / "app" / name).read_bytes() for name in FILES}
    return {
        "web-1.mime": multipart("web", app).encode("ascii"),
        "media-1.yaml.gz": gzip.compress(cloud_config("media", app, plain=True).encode(), 9, mtime=0),
        "status-1.yaml": cloud_config("status", app, plain=False).encode(),
    }


def with_digests(text: str, data: Mapping[str, bytes]) -> str:
    """Put the digest of every named file beside its name: ``{file: user-data/web-1.mime, sha256: ...}``."""

    def digest(match: re.Match[str]) -> str:
        name = match[2]
        body = data[Path(name).name] if name.startswith("user-data/") else (HERE / name).read_bytes()
        return f"{match[1]}{hashlib.sha256(body).hexdigest()}"

    return re.sub(r"(file: ([\w./-]+), sha256: )[0-9a-f]*", digest, text)


def main(argv: list[str]) -> int:
    data = build()
    for name, body in data.items():
        if len(body) > LIMIT:
            sys.exit(f"{name} has {len(body)} bytes, {LIMIT} are allowed")
    site = (HERE / "site.yaml").read_text("utf-8")
    wanted = {f"user-data/{name}": body for name, body in data.items()}
    wanted["site.yaml"] = with_digests(site, data).encode()
    stale = [name for name, body in wanted.items() if not (HERE / name).exists() or (HERE / name).read_bytes() != body]
    if "--check" in argv:
        return 1 if stale else 0
    (HERE / "user-data").mkdir(exist_ok=True)
    for name in stale:
        (HERE / name).write_bytes(wanted[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
