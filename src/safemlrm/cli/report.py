"""`safemlrm report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safemlrm.cli.common import Json, print_json, tell
from safemlrm.cli.gate import FailIf, check_form, check_gate
from safemlrm.errors import UsageError


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    out: Annotated[Path | None, typer.Option(help="File to write. [RUN/report.html]")] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out all requests, images and replies.")] = False,
    fail_if: FailIf = None,
    json: Json = False,
) -> int:
    """Write a run's report: one HTML file that needs no network."""
    from safemlrm import api

    check_form(fail_if)
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder; give a file, e.g. --out {out / 'report.html'}")
    found = api.open_run(run)
    page = found.report(out, redact=redact)
    summary = found.summary()
    if json:
        print_json({"report": str(page), "summary": summary})
    tell(f"report: {page}", json=json)
    return check_gate(fail_if, summary)
