"""What every kind of decoder promises; a test class per kind inherits it and gives an example."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import pytest

from agent.contracts import Array, TensorSpec
from agent.decode import KINDS
from agent.errors import FrameError
from agent.structure import StructureProblemsError, structure_kind


class DecoderContract:
    kind: str
    options: ClassVar[dict[str, Any]]
    """The least a manifest must say."""

    @abstractmethod
    def example(self) -> tuple[tuple[Array, ...], tuple[TensorSpec, ...]]:
        """Float outputs of a model that the options fit, and their specs."""

    def decoder(self, **more: Any) -> Any:
        return structure_kind({"kind": self.kind, **self.options, **more}, KINDS, root="decoder")

    def test_a_model_that_fits_has_no_problems(self) -> None:
        assert self.decoder().check(self.example()[1]) == ()

    def test_decoding_leaves_the_outputs_as_they_were_and_repeats_itself(self) -> None:
        outputs, specs = self.example()
        before = [output.copy() for output in outputs]
        first, second = (self.decoder().decode(outputs, specs) for _ in range(2))
        assert all(np.array_equal(now, then) for now, then in zip(outputs, before, strict=True))
        for name in first.__slots__:
            assert np.array_equal(getattr(first, name), getattr(second, name))

    def test_the_prediction_shares_no_memory_with_the_outputs(self) -> None:
        outputs, specs = self.example()
        made = self.decoder().decode(outputs, specs)
        arrays = [value for name in made.__slots__ if isinstance(value := getattr(made, name), np.ndarray)]
        assert arrays
        assert not any(np.shares_memory(array, output) for array in arrays for output in outputs)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_outputs_that_are_not_finite_make_the_frame_unusable(self, bad: float) -> None:
        outputs, specs = self.example()
        with pytest.raises(FrameError, match="the model"):
            self.decoder().decode(tuple(np.full_like(output, bad) for output in outputs), specs)

    def test_an_unknown_option_is_refused_by_its_name(self) -> None:
        with pytest.raises(StructureProblemsError, match=r"decoder: unknown key 'colour'"):
            self.decoder(colour="red")

    def test_a_model_with_too_few_outputs_is_refused_by_field(self) -> None:
        problems = self.decoder().check(())
        assert problems
        assert all("expected an output of the model" in problem for problem in problems)
