"""The configuration of the nodes of these tests: loopback peers, the PACS as destination, a log to be read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import Orthanc


def node_settings(
    state: Path, port: int, peers: Sequence[str], pacs: Orthanc | None = None, **sections: Mapping[str, Any]
) -> str:
    """Return it as TOML; further sections by name."""
    here = {"host": "127.0.0.1", "name": "pacs"}
    tables: dict[str, list[Mapping[str, Any]] | Mapping[str, Any]] = {
        "node": {"port": port, "state": str(state)},
        "peers": [{"ae_title": title, "networks": ["127.0.0.0/8"]} for title in peers],
        "destinations": [] if pacs is None else [here | {"ae_title": pacs.ae_title, "port": pacs.port}],
        "limits": {"min_free_bytes": 0},
        "log": {"format": "json"},
    }
    lines = []
    for name, found in (tables | sections).items():
        for table in found if isinstance(found, list) else [found]:
            lines.append(f"[[{name}]]" if isinstance(found, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]  # of these types, TOML's
    return "\n".join(lines) + "\n"
