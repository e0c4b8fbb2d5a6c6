"""Reads the bundle as the agent would, and runs its golden inputs on this CPU."""

from collections.abc import Sequence
from pathlib import Path

from agent.bundle import Bundle, load
from agent.errors import InputError, LitewatchError
from agent.preprocess.compiled import compile_spec
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from agent.selftest import GOLDEN, answers
from tools.doctor.tree.bundle import BundleFacts


def look(
    path: str, *, trusted_keys: Sequence[str], runtime: Runtime | None, needs_edgetpu: bool
) -> tuple[BundleFacts, Bundle | None]:
    problems: tuple[str, ...] = ()
    bundle, answer = None, None
    try:
        bundle = load(Path(path), tuple(trusted_keys), most_golden=GOLDEN)
        answer = _answer(bundle, runtime) if runtime is not None else None
    except InputError as error:
        problems = error.problems
    except LitewatchError as error:
        problems = (str(error),)
    facts = BundleFacts(
        path=path,
        problems=problems,
        has_edgetpu=bundle is not None and bundle.edgetpu is not None,
        needs_edgetpu=needs_edgetpu,
        answer=answer,
    )
    return facts, bundle


def _answer(bundle: Bundle, runtime: Runtime) -> str:
    runner = open_runner(Cpu(), bundle.flatbuffer, runtime=runtime, threads=1)
    try:
        found = answers(bundle, compile_spec(bundle.spec, runner.input), runner)
    finally:
        runner.close()
    return "" if found.right else found.detail
