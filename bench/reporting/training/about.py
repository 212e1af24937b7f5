"""Provenance of a training run as texts: settings, environment, and what identifies it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.results import lost
from bench.results.provenance import provenance
from bench.results.reader import Run

IDENTITY = (
    "data_sha256",
    "inputs_json",
    "case_hash",
    "run_uuid",
    "attempt",
    "suite_version",
    "schema_version",
)
"""Attributes that identify the run, the data and the version of the suite."""


def everything(run: Run) -> dict[str, str]:
    """Return the provenance common to all results, and the settings and identity of this run."""
    texts = provenance(run)
    file = texts.pop("file")
    texts["settings"] = _spelled(run.params)
    environment = json.loads(run.texts.get("environment", "{}"))
    texts["environment"] = " ".join(f"{key}={value}" for key, value in environment.items())
    texts["lost"] = lost.text(run.path) if run.attributes.get("ranks_lost") else ""
    texts |= {x.replace("_", " "): str(run.attributes.get(x, "")) for x in IDENTITY}
    return {key: text for key, text in texts.items() if text} | {"file": file}


def _spelled(params: Mapping[str, Any]) -> str:
    """Return all explicit settings as a text, with options in brackets."""
    options = {key.replace("_", " "): x for key, x in params.items() if x not in (None, "", {})}
    texts = (f"[{_spelled(x)}]" if isinstance(x, dict) else str(x) for x in options.values())
    return ", ".join(f"{key} {text}" for key, text in zip(options, texts, strict=True))
