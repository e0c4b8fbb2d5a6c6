"""``litewatch preprocess find``: which preprocessing was this model trained with?"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import yaml

from agent.errors import BundleError
from agent.plain_text import plain_text
from agent.preprocess.spec import dump, fingerprint
from agent.runtime.choice import choose
from calibration import packing
from calibration.candidate.question import Finding, Question, prepare
from calibration.candidate.words import header, verdict
from calibration.search import Found, Ranked, search
from calibration.task import Values
from tools.console import emit_json, progress, say, table
from tools.paths import runtime_cache
from tools.writing import require_writable

_PATH = click.Path(path_type=Path)
_UNWORTHY = (
    "with none of the preprocessings does the model work, so none of them is ready for pack. Look at the "
    "model and at the labels"
)


@click.group(
    invoke_without_command=True,
    epilog="\b\nExample:\n"
    "  litewatch preprocess find model.tflite --images held_out.csv --write preprocess.yaml",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result of the command as JSON.")
@click.pass_context
def preprocess(context: click.Context, as_json: bool) -> None:
    """Find the preprocessing of a model."""
    context.obj = as_json
    if context.invoked_subcommand is None:
        raise click.UsageError("name a command, such as: litewatch preprocess find MODEL --images IMAGES")


@preprocess.command(
    epilog="\b\nExamples:\n"
    "  litewatch preprocess find model.tflite --images held_out.csv --write preprocess.yaml\n"
    "  litewatch preprocess find model.tflite --images photographs/ --json",
)
@click.argument("model", type=_PATH)
@click.option(
    "--images",
    type=_PATH,
    required=True,
    help="CSV file,label; a folder per label; or a folder without labels (weaker).",
)
@click.option("--labels", type=_PATH, help="One line per output; default: the labels the model carries.")
@click.option(
    "--count", type=click.IntRange(8), default=200, show_default=True, help="Images taken, at random."
)
@click.option("--values", type=click.Choice(get_args(Values)), help="What the outputs are; default: a guess.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, help="For running the model.")
@click.option("--write", type=_PATH, help="Write the best spec here, ready for pack --preprocess.")
@click.option("--json", "as_json", is_flag=True, help="Print the ranked specs as JSON.")
@click.pass_obj
def find(
    outer_json: bool,
    model: Path,
    images: Path,
    labels: Path | None,
    count: int,
    values: Values | None,
    threads: int,
    write: Path | None,
    as_json: bool,
) -> None:
    """Search for the preprocessing that a classifier was trained with.

    Colour order, scaling, crop, interpolation and rotation are searched; the specs are ranked by the
    mean log-likelihood of the true labels, and each is tested: is it truly worse than the best, or
    can it not be told apart with these images? Without labels confidence and agreement decide, which
    is weaker. Exit status 1 when --write is refused because the model works with none of them.
    """
    if write is not None and write.exists():
        raise BundleError(f"{write}: exists already")
    require_writable(write, "--write")
    question = Question(
        model=model, images=images, labels=labels, count=count, values=values, threads=threads
    )
    finding = prepare(question, choose("auto", cache=runtime_cache()))
    found = search(finding.evaluation, scores=finding.values == "scores", watch=_watch)
    try:
        if as_json or outer_json:
            emit_json(summarise(finding, found))
        else:
            _show(finding, found)
    finally:  # A reader that has left is no reason to lose the spec.
        if write is not None and not found.weak:
            packing.save(write, (header(found, model.name) + dump(found.best.spec)).encode())
    for warning in finding.warnings:
        say(f"warning: {warning}")
    if write is not None and found.weak:
        say(f"not written: {write}: {_UNWORTHY}")
        raise click.exceptions.Exit(1)
    if write is not None:
        say(f"written: {write}; check it against the training code")


def summarise(finding: Finding, found: Found) -> dict[str, Any]:
    """The result in plain values; ``ranked`` is best first."""
    return {
        "model": plain_text(finding.name),
        "images": found.inputs,
        "labelled": found.labelled,
        "judged_by": "log-likelihood of the label" if found.labelled else "confidence and agreement (weaker)",
        "weak_model": found.weak,
        "values": finding.values,
        "verdict": verdict(found),
        "alpha": found.alpha,
        "space": found.space,
        "tried": found.tried,
        "runs": found.runs,
        "ranked": [_plain(ranked) for ranked in found.ranked],
        "dropped": [
            {"words": list(drop.arm.words()), "images": drop.inputs, "worse_by": drop.best - drop.score}
            for drop in found.dropped
        ],
        "warnings": list(finding.warnings),
    }


def _plain(ranked: Ranked) -> dict[str, Any]:
    return {
        "spec": yaml.safe_load(dump(ranked.spec)),
        "fingerprint": fingerprint(ranked.spec),
        "words": list(ranked.candidate.words()),
        "score": ranked.score,
        "worse_by": ranked.worse_by,
        "p": ranked.p,
        "distinguishable": ranked.distinguishable,
        "accuracy": ranked.accuracy,
        "images": ranked.inputs,
    }


def _show(finding: Finding, found: Found) -> None:
    from rich.markup import escape

    columns = ("", "Score", "Worse by", "p", "Right", "Images", "Preprocessing")
    rows = [
        (
            "[red]worse[/red]" if one.distinguishable else "[green]alike[/green]" if n else "best",
            f"{one.score:.3f}",
            f"{one.worse_by:.3f}" if n else "",
            f"{one.p:.3f}" if n else "",
            "" if one.accuracy is None else f"{one.accuracy:.1%}",
            str(one.inputs),
            escape(", ".join(one.differs if n and one.differs else one.candidate.words())),
        )
        for n, one in enumerate(found.ranked)
    ]
    table(escape(plain_text(finding.name)), columns, rows)
    for sentence in verdict(found):
        click.echo(sentence)


def _watch(inputs: Sequence[int], label: str) -> Iterable[int]:
    return progress(inputs, total=len(inputs), label=label)
