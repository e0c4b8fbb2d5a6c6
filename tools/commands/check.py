"""``litewatch check``: the accuracy ladder on this hardware."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.errors import ConfigError, InputError
from tools.console import emit_json, progress, say
from tools.paths import runtime_cache
from tools.writing import require_writable, write_text

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.config import AgentConfig
    from agent.preprocess.spec import PreprocessSpec
    from agent.runtime.choice import Runtime
    from agent.runtime.interpreter import Delegate
    from calibration.check_result import CheckResult, LayerView
    from calibration.rung.machine import Runners
    from calibration.rung.preparing import Foreign

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """The command line."""

    bundle: Path | None
    config: Path | None
    threads: int | None
    delegate: str | None
    kernels: str | None
    inputs: int | None
    callable: str | None
    tensors: Path | None
    deployed: Path | None
    float_model: Path | None
    live: Path | None
    transaction: str | None


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch check bundle.tflite\n"
    "  litewatch check bundle.tflite --callable camera_app:prepare --html check.html\n"
    "  litewatch check -c agent.yaml --publish --json"
)
@click.argument("bundle", type=_PATH, required=False)
@click.option("-c", "--config", type=_PATH, help="agent.yaml: its bundle, delegate, threads and broker.")
@click.option("--threads", type=click.IntRange(1, 256), help="For running the model.")
@click.option(
    "--delegate", help="Kind of delegate, or its options as in agent.yaml: '{kind: external, library: …}'."
)
@click.option(
    "--kernels",
    type=click.Choice(["auto", "xnnpack", "builtin", "reference"]),
    help="The CPU's kernels in production.",
)
@click.option("--inputs", type=click.IntRange(8), help="Use only so many inputs of the random stratum.")
@click.option(
    "--callable", "callable_", help="module:function of your own preprocessing: encoded bytes to array."
)
@click.option("--tensors", type=_PATH, help="Folder of .npy your own preprocessing dumped, one per input.")
@click.option("--deployed", type=_PATH, help="Another preprocess.yaml, the one that is really in use.")
@click.option("--float", "float_model", type=_PATH, help="The float model: compares layer by layer.")
@click.option(
    "--live",
    type=_PATH,
    help="With --float: what the device sees now (images, or a CSV of vectors): does it leave the ranges?",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this file.")
@click.option("--publish", is_flag=True, help="Send the result to the collector of agent.yaml.")
@click.option("--transaction", hidden=True, help="Published with the result: the command it answers.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(
    bundle: Path | None,
    config: Path | None,
    threads: int | None,
    delegate: str | None,
    kernels: str | None,
    inputs: int | None,
    callable_: str | None,
    tensors: Path | None,
    deployed: Path | None,
    float_model: Path | None,
    live: Path | None,
    html: Path | None,
    publish: bool,
    transaction: str | None,
    as_json: bool,
) -> None:
    """Climb the accuracy ladder of BUNDLE on this hardware.

    The same golden inputs, from the float model to this device's own preprocessing: which rung changes
    the answers, what it costs, and what to do first. Exit status 0 when all is ok or merely changed, 1
    when something is harmful, 2 for bad input.
    """
    request = _Request(
        bundle=bundle,
        config=config,
        threads=threads,
        delegate=delegate,
        kernels=kernels,
        inputs=inputs,
        callable=callable_,
        tensors=tensors,
        deployed=deployed,
        float_model=float_model,
        live=live,
        transaction=transaction,
    )
    _check_request(request, publish)
    require_writable(html, "--html")
    made = _Check(request)
    result = made.result()
    try:
        _show(result, as_json)
    finally:  # A reader that has left is no reason to lose the report.
        _write(result, html)
    if publish:
        made.publish(result)
    raise click.exceptions.Exit(1 if result.verdict == "harmful" else 0)


def _check_request(request: _Request, publish: bool) -> None:
    """Raises InputError with everything that cannot be meant."""
    problems = []
    if request.bundle is None and request.config is None:
        problems.append("BUNDLE: name a bundle, or an agent.yaml with -c")
    if publish and request.config is None:
        problems.append("--publish: needs -c agent.yaml, which names the broker")
    if request.live is not None and request.float_model is None:
        problems.append("--live: needs --float, whose numbers say what the ranges should hold")
    foreign = {
        "--callable": request.callable,
        "--tensors": request.tensors,
        "--deployed": request.deployed,
    }
    given = [name for name, value in foreign.items() if value is not None]
    if len(given) > 1:
        problems.append(f"{' and '.join(given)}: one foreign preprocessing at a time")
    if request.delegate not in (None, "cpu") and request.kernels is not None:
        problems.append("--kernels: are the CPU's; leave them out with another delegate")
    if problems:
        raise InputError(*problems)


class _Check:
    """One check, from the command line to its result."""

    def __init__(self, request: _Request) -> None:
        # Imported here: `--help` must not cost the time of OpenCV.
        import cv2

        from agent.runtime.choice import choose

        cv2.setNumThreads(1)
        self._request = request
        self.config = _config(request.config) if request.config is not None else None
        options = self.config.model.options if self.config else None
        self.bundle = _bundle(request, self.config)
        self.runtime: Runtime = choose(options.runtime if options else "auto", cache=runtime_cache())
        self.threads = request.threads or (options.threads if options else os.cpu_count() or 1)

    def result(self) -> "CheckResult":
        from calibration.ladder import climb
        from calibration.rung.machine import INVOKE_TIMEOUT_S, runners_here
        from tools.through_service import borrowed_delegate

        delegate = _delegate(self._request, self.config)
        runners = runners_here(
            self.bundle,
            delegate,
            runtime=self.runtime,
            threads=self.threads,
            timeout_s=self.config.model.options.invoke_timeout_s if self.config else INVOKE_TIMEOUT_S,
        )
        layers = self._layers(runners)  # First: a float model that is no twin is to be said at once.
        with borrowed_delegate(self.config, delegate=delegate):
            result = climb(
                self.bundle,
                runners=runners,
                inputs=self._request.inputs,
                foreign=self._foreign(),
                progress=lambda items, total, label: progress(items, total=total, label=label),
            )
        return replace(result, layers=layers)

    def publish(self, result: "CheckResult") -> None:
        from agent.preprocess.spec import fingerprint
        from agent.startup import state_dir
        from calibration.rung.publishing import message, publish
        from tools.through_service import hand_over

        assert self.config is not None  # _check_request has seen to it
        check = replace(message(result), transaction=self._request.transaction)
        if hand_over(check, self.config, os.environ):
            say("handed to the running agent, which publishes it")
            return
        state = state_dir(self.config, os.environ)
        publish(check, self.config, state=state, fingerprint=fingerprint(self.bundle.spec))
        say("published")

    def _foreign(self) -> "Foreign | PreprocessSpec | None":
        from calibration.spec_file import read_spec

        request = self._request
        if request.callable is not None:
            return _callable(request.callable)
        if request.tensors is not None:
            return _tensors(request.tensors, self.bundle)
        if request.deployed is not None:
            return read_spec(request.deployed, where=request.deployed.name)
        override = self.config.model.options.preprocess_override if self.config else None
        if override is not None:
            path = _beside(self._request.config, override.path)
            return read_spec(path, where=f"model.preprocess_override: {path.name}")
        return None

    def _layers(self, runners: "Runners") -> "LayerView | None":
        payloads = [given.payload for given in self.bundle.golden.stratum("random")]
        if self._request.float_model is None or not payloads:
            return None
        from calibration.layer.live import live_inputs
        from calibration.layer.twin import twin_layers

        # An Edge TPU's operators have no counterpart to be compared with: its CPU twin stands in.
        production = runners.cpu(runners.production)
        live = self._request.live
        try:
            return twin_layers(
                self.bundle,
                self._request.float_model,
                payloads,
                production=production,
                runtime=self.runtime,
                threads=self.threads,
                live=live_inputs(self.bundle, live, production.input) if live is not None else (),
            )
        finally:
            production.close()


def _config(path: Path) -> "AgentConfig":
    from agent import config as configs
    from agent.credentials import with_credentials
    from agent.runtime import KINDS as DELEGATES
    from agent.sources import KINDS as SOURCES
    from tools.commands.config import read_text

    config = configs.parse(read_text(path), sources=SOURCES, delegates=DELEGATES, where=path.name)
    return with_credentials(config, os.environ)


def _bundle(request: _Request, config: "AgentConfig | None") -> "Bundle":
    from agent.bundle import load

    options = config.model.options if config else None
    path = request.bundle
    if path is None:
        assert options is not None  # _check_request has seen to it
        path = _beside(request.config, options.bundle)
    return load(path, options.trusted_keys if options else ())


def _beside(config: Path | None, path: str) -> Path:
    """Relative paths in agent.yaml start at its own folder."""
    return config.resolve().parent / path if config is not None else Path(path)


def _delegate(request: _Request, config: "AgentConfig | None") -> "Delegate":
    from agent.document import DocumentError, read_yaml
    from agent.runtime import KINDS
    from agent.runtime.cpu import Cpu
    from agent.structure import StructureProblemsError, structure_kind

    if request.kernels is not None:
        return Cpu(kernels=request.kernels)  # type: ignore[arg-type]  # click has checked the choice
    if request.delegate is not None:
        try:
            made: Delegate = structure_kind(
                read_yaml(request.delegate), KINDS, root="--delegate", shorthand=True
            )
        except (DocumentError, StructureProblemsError) as error:
            problems = (
                error.problems if isinstance(error, StructureProblemsError) else [f"--delegate: {error}"]
            )
            raise ConfigError(*problems) from None
        if hasattr(made, "problems") and (found := made.problems()):
            raise ConfigError(*(f"--delegate.{problem}" for problem in found))
        return made
    configured: Delegate = config.model.delegate if config else Cpu()
    return configured


def _callable(text: str) -> "Foreign":
    from calibration.foreign import load_callable
    from calibration.rung.preparing import Foreign

    function = load_callable(text)

    def prepare(golden: Any) -> Any:
        try:
            return function(golden.payload)
        except InputError as error:
            raise InputError(
                *(f"--callable: {golden.name}: {problem}" for problem in error.problems)
            ) from error

    return Foreign(name=text, prepare=prepare)


def _tensors(folder: Path, bundle: "Bundle") -> "Foreign":
    from calibration.foreign import load_tensors
    from calibration.rung.preparing import Foreign

    loaded = load_tensors(folder, [given.name for given in bundle.golden.inputs])
    return Foreign(name=str(folder), prepare=lambda golden: loaded.get(golden.name))


def _write(result: "CheckResult", html: Path | None) -> None:
    if html is not None:
        from calibration import report

        write_text(html, report.html(result), "--html")


def _show(result: "CheckResult", as_json: bool) -> None:
    from calibration import result_file

    if as_json:
        emit_json(result_file.dump(result))
        return
    from tools.result_tables import show_check

    show_check(result)
