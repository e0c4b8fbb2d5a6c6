"""``litewatch doctor``: what is wrong with this machine, and what to type."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.plain_text import plain_text
from tools.console import emit_json

if TYPE_CHECKING:
    from tools.doctor.finding import Finding

COLOURS = {"ok": "green", "notice": "yellow", "wrong": "red", "not checked": "bright_black"}


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch doctor\n"
    "  litewatch doctor -c agent.yaml\n"
    "  sudo litewatch doctor --json"
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="agent.yaml; default: the installed service's, where there is one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(config: Path | None, as_json: bool) -> None:
    """Examine this machine: runtime, power, clock, disk, bundle, Edge TPU, source and broker.

    Every finding that is wrong ends in a cause and a command to type. Nothing is changed; what a running
    agent has, a device or its login, is asked of that agent. Exit status 0 when nothing is wrong, else 1.
    """
    # Imported here: `--help` must not cost what the examination needs.
    from tools.commands.config import read_text
    from tools.doctor.examination import examine, patient_here
    from tools.doctor.finding import verdict_of

    patient = patient_here(config, read_text)
    if patient.text is not None:
        patient = replace(patient, path=patient.path.resolve())
        os.chdir(patient.path.parent)
    findings = examine(patient)
    verdict = verdict_of(findings)
    if as_json:
        emit_json({"verdict": verdict, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
    raise click.exceptions.Exit(1 if verdict == "wrong" else 0)


def _show(finding: "Finding") -> None:
    click.secho(f"{finding.verdict:<12}", fg=COLOURS[finding.verdict], nl=False)
    click.echo(f"{finding.subject:<9} {plain_text(finding.cause)}")
    if finding.verdict == "ok":
        return
    if finding.detail:
        click.echo(f"{'':<22} ({plain_text(finding.detail)})")
    for command in finding.commands:
        click.echo(f"{'':<22} → {plain_text(command)}")
