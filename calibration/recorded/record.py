"""Records golden inputs one by one, within limits of size."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.contracts import Array, Payload, Runner
from agent.errors import BundleError, FrameError
from agent.golden import GoldenInput, Stratum, tensor_file
from agent.golden_tensor import record
from agent.plain_text import plain_text
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.trace import trace
from calibration.float_twin import FloatTwin
from calibration.labelled import Input
from calibration.recorded.training_tensors import TrainingTensors


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What an input goes through. ``runner`` runs the reference kernels."""

    spec: PreprocessSpec
    runner: Runner
    float_twin: FloatTwin | None
    tensors: TrainingTensors | None

    def tensor(self, given: Input, payload: Payload) -> Array:
        """What training feeds the model with. Raises FrameError."""
        if self.tensors is not None:
            return self.tensors.tensor(given.name, self.spec, self.runner.input)
        return run_steps(self.spec, self.runner.input, payload).tensor

    def golden(self, given: Input, stratum: Stratum) -> GoldenInput:
        """Everything of one input. Raises FrameError when it cannot be read or prepared."""
        payload = given.payload()
        traces = trace(self.spec, self.runner.input, payload)
        tensor = self.tensor(given, payload)
        return GoldenInput(
            name=plain_text(given.name),
            encoded=payload if isinstance(payload, bytes) else payload.astype("<f8").tobytes(),
            label=given.label,
            traces=traces,
            outputs=self.runner.run(tensor),
            vector=not is_image(self.spec),
            stratum=stratum,
            tensor=record(tensor, self.spec, self.runner.input),
            float_outputs=self._float_outputs(given, tensor),
        )

    def _float_outputs(self, given: Input, tensor: Array) -> tuple[Array, ...] | None:
        if self.float_twin is not None:
            return self.float_twin.run(tensor)
        return self.tensors.outputs(given.name, self.runner.outputs) if self.tensors else None


class Collection:
    """The inputs recorded so far. ``full`` says which limit stopped it, or is empty."""

    def __init__(self, subject: Subject, *, max_bytes: int, max_originals_bytes: int) -> None:
        self.full = ""
        self._subject = subject
        self._inputs: list[GoldenInput] = []
        self._limits = {"recorded tensors": max_bytes, "originals": max_originals_bytes}
        self._sizes = dict.fromkeys(self._limits, 0)
        self._unusable: list[str] = []

    def add(self, inputs: Iterable[Input], count: int, stratum: Stratum) -> int:
        """Record ``count`` usable ones of ``inputs``, fewer when a limit is reached.

        Returns how many inputs were looked at. Raises BundleError when the outputs change shape.
        """
        looked = added = 0
        for given in inputs if count and not self.full else ():
            looked += 1
            try:
                added += self._take(self._subject.golden(given, stratum))
            except FrameError as error:
                self._unusable.append(plain_text(f"{given.name}: {'; '.join(error.problems)}"))
            if self.full or added == count:
                break
        return looked

    def inputs(self) -> tuple[GoldenInput, ...]:
        """Float outputs only where every input has some."""
        if all(given.float_outputs is not None for given in self._inputs):
            return tuple(self._inputs)
        return tuple(replace(given, float_outputs=None) for given in self._inputs)

    def notes(self) -> list[str]:
        found = []
        if self.full:
            found.append(f"only {len(self._inputs)} golden inputs: {self.full}")
        if self._unusable:
            found.append(
                f"golden inputs that cannot be used: {len(self._unusable)}, the first: {self._unusable[0]}"
            )
        without = sum(given.float_outputs is None for given in self._inputs)
        if 0 < without < len(self._inputs):
            found.append(f"no float outputs: {without} of {len(self._inputs)} golden inputs lack them")
        return found

    def _take(self, made: GoldenInput) -> bool:
        assert made.tensor is not None
        sizes = {"recorded tensors": len(tensor_file(made.tensor)[0]), "originals": len(made.encoded)}
        for what, limit in self._limits.items():
            if self._sizes[what] + sizes[what] > limit:
                self.full = f"the {what} of one more would be above {limit / 2**20:.3g} MiB"
                return False
        if self._inputs and _shapes(self._inputs[0]) != _shapes(made):
            raise BundleError("the model's outputs change their shape from input to input")
        self._sizes = {what: size + sizes[what] for what, size in self._sizes.items()}
        self._inputs.append(made)
        return True


def _shapes(made: GoldenInput) -> list[tuple[int, ...]]:
    return [output.shape for output in made.outputs]
