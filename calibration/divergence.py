"""Which preprocessing step differs, from the input tensors alone.

``recognise`` compares tensors that some other code made of encoded originals with those of the spec
(or of training), and explains the difference by what the other code must have done to them: the
simplest explanation that leaves (nearly) nothing. Where several steps differ it names the first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.preprocess.compiled import compile_spec
from agent.preprocess.decoding import Decode
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.values import Cast
from calibration.hypothesis.cases import (
    Case,
    Subject,
    Within,
    compare,
    exif_alone,
    lossy,
    padding_alone,
    small_difference,
    unknown,
)
from calibration.hypothesis.cases import (
    Sample as Sample,
)
from calibration.hypothesis.form import picture_of, problem
from calibration.hypothesis.hypothesis import Difference, rank
from calibration.hypothesis.search import Explanation, explain
from calibration.hypothesis.vectors import vector_difference

Who: TypeAlias = Literal["here", "training"]
MOST = 16
"""Samples that are looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """``step``: the first preprocessing step that differs, None when none does; ``kind``: how, in a word
    or two; ``sentence``: in full. ``share``: of the samples that agree with this finding; ``residual``:
    root mean square that the finding leaves, in levels of 0..255; ``explained``: share of the squared
    difference that it accounts for (0..1). ``who``: "training" where the tensors found are the spec's and
    training's are not; else "here"."""

    step: str | None
    kind: str
    sentence: str
    within: Within
    share: float
    residual: float
    explained: float
    who: Who = "here"


def recognise(samples: Sequence[Sample], spec: PreprocessSpec, tensor: TensorSpec) -> Divergence:
    """Raises SpecError when ``spec`` does not fit ``tensor``, FrameError when a payload cannot be used,
    ValueError without samples."""
    if not samples:
        raise ValueError("no samples")
    compiled = compile_spec(spec, tensor)
    chosen = _chosen(samples)
    if not is_image(spec):
        return _vectors(chosen, spec, tensor)
    cast = spec.steps[-1]
    assert isinstance(cast, Cast)  # compile_spec has validated it
    picture = picture_of(tensor, cast)
    hopeless = _hopeless([problem(s.found, picture) for s in chosen])
    if hopeless:
        return hopeless
    decode = spec.steps[0]
    assert isinstance(decode, Decode)
    subject = Subject(spec=spec, tensor=tensor, picture=picture, decode=decode)
    cases = []
    for sample in chosen:
        pixels = decode.apply(sample.payload)
        made = compiled(pixels).tensor
        expected = made if sample.expected is None else sample.expected
        compared = compare(sample.found, expected, subject, lossy(sample.payload))
        cases.append(Case(sample=sample, pixels=pixels, made=made, expected=expected, compared=compared))
    return _judged(cases, subject)


def _judged(cases: Sequence[Case], subject: Subject) -> Divergence:
    withins = [case.compared.within for case in cases]
    if all(within == "exact" for within in withins):
        return _same(len(cases))
    if all(within != "no" for within in withins):
        return _tolerable(cases, subject)
    differing = [case for case in cases if case.compared.within == "no"]
    if all(_by_spec(case, subject) for case in differing):
        return _training(differing, subject, len(cases))
    alone = exif_alone(differing, subject) or padding_alone(differing, subject)
    if alone:
        return _told([alone], 0.0, [True] * len(differing), differing, len(cases))
    result = _explained(differing, subject)
    return _told(result.differences, result.error, result.agreeing, differing, len(cases))


def _by_spec(case: Case, subject: Subject) -> bool:
    """Whether the tensor found is the spec's, so that the other must be training's own."""
    return compare(case.sample.found, case.made, subject, lossy(case.sample.payload)).within != "no"


def _training(differing: Sequence[Case], subject: Subject, count: int) -> Divergence:
    """What training does otherwise than the spec, where the tensors found are the spec's."""
    trained = [replace(case, sample=replace(case.sample, found=case.expected)) for case in differing]
    alone = exif_alone(trained, subject)
    if alone:
        told = _told([alone], 0.0, [True] * len(trained), differing, count)
    else:
        result = _explain([case.expected for case in trained], trained, subject)
        told = _told(result.differences, result.error, result.agreeing, differing, count)
    return _by_training(told)


def _by_training(told: Divergence) -> Divergence:
    step, _, rest = told.sentence.partition(": ")
    said = f"{step}: training does otherwise than the spec ({rest.rstrip('.')}), this does not."
    return replace(told, sentence=said, who="training")


def _explained(differing: Sequence[Case], subject: Subject) -> Explanation:
    """What the found tensors do otherwise; against training's, where those are not the spec's own."""
    found = _explain([case.sample.found for case in differing], differing, subject)
    trained = [
        c for c in differing if compare(c.expected, c.made, subject, lossy(c.sample.payload)).within == "no"
    ]
    if not trained:
        return found
    training = _explain([case.expected for case in trained], trained, subject)
    shared = set(training.differences) & set(found.differences)
    only = [d for d in found.differences if d not in shared]
    only += [
        replace(d, text=f"training does otherwise than the spec ({d.text}), this does not")
        for d in training.differences
        if d not in shared and d.step not in {o.step for o in only}
    ]
    return replace(found, differences=tuple(sorted(only, key=rank)) or found.differences)


def _explain(found: Sequence[Array], cases: Sequence[Case], subject: Subject) -> Explanation:
    originals = [case.pixels for case in cases]
    alike = [
        i for i, array in enumerate(found) if (array.shape, array.dtype) == (found[0].shape, found[0].dtype)
    ]
    return explain(
        [originals[i] for i in alike],
        [found[i] for i in alike],
        subject.spec,
        subject.tensor,
        subject.picture,
    )


def _chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Up to ``MOST``, spread over all; pictures with an orientation tag first, for they tell more."""
    tagged = [s for s in samples if isinstance(s.payload, bytes) and b"Exif\0" in s.payload[:4096]][:3]
    rest = [s for s in samples if not any(s is t for t in tagged)]
    spread = np.linspace(0, len(rest) - 1, min(len(rest), MOST - len(tagged))).round().astype(int)
    return [*tagged, *(rest[i] for i in spread)]


def _hopeless(problems: Sequence[Difference | None]) -> Divergence | None:
    found = Counter(p for p in problems if p)
    if not found:
        return None
    difference, _ = found.most_common(1)[0]
    alike = sum(1 for p in problems if p and p.kind == difference.kind)
    return Divergence(
        step=difference.step,
        kind=difference.kind,
        sentence=f"{difference.step}: {difference.text}.",
        within="no",
        share=alike / len(problems),
        residual=float("inf"),
        explained=0.0,
    )


def _same(count: int) -> Divergence:
    return Divergence(
        step=None,
        kind="",
        sentence=f"The tensors are equal in all {count} samples.",
        within="exact",
        share=1.0,
        residual=0.0,
        explained=1.0,
    )


def _tolerable(cases: Sequence[Case], subject: Subject) -> Divergence:
    worst = max(case.compared.largest for case in cases)
    rms = max(case.compared.rms for case in cases)
    difference = small_difference([c for c in cases if c.compared.within != "exact"], subject)
    return Divergence(
        step=difference.step,
        kind=difference.kind,
        sentence=f"{difference.step}: {difference.text}; within tolerance: by {rms:.2g} levels of 255 "
        f"(root mean square), {worst:.3g} at most.",
        within="tolerance",
        share=1.0,
        residual=rms,
        explained=0.0,
    )


def _told(
    differences: Sequence[Difference],
    error: float,
    agreeing: Sequence[bool],
    differing: Sequence[Case],
    count: int,
) -> Divergence:
    share = (sum(agreeing) + count - len(agreeing)) / count
    total = float(np.mean([case.compared.rms**2 for case in differing]))
    explained = float(np.clip(1.0 - error**2 / total, 0.0, 1.0)) if np.isfinite(total) and total > 0 else 1.0
    if not differences:
        differences, explained = [unknown(differing, total)], 0.0
    first = differences[0]
    sentence = f"{first.step}: {first.text}"
    if len(differences) > 1:
        sentence += ". Further on also " + "; ".join(f"{d.step}: {d.text}" for d in differences[1:])
    return Divergence(
        step=first.step,
        kind=first.kind,
        sentence=sentence + ".",
        within="no",
        share=share,
        residual=error,
        explained=explained,
    )


def _vectors(samples: Sequence[Sample], spec: PreprocessSpec, tensor: TensorSpec) -> Divergence:
    found = vector_difference(samples, spec, tensor)
    if found is None:
        return _same(len(samples))
    difference, within, share = found
    if (
        within == "no"
        and vector_difference([replace(s, expected=None) for s in samples], spec, tensor) is None
    ):
        return _vectors_trained(samples, spec, tensor)
    return Divergence(
        step=difference.step,
        kind=difference.kind,
        sentence=f"{difference.step}: {difference.text}.",
        within=within,
        share=share,
        residual=0.0,
        explained=0.0,
    )


def _vectors_trained(samples: Sequence[Sample], spec: PreprocessSpec, tensor: TensorSpec) -> Divergence:
    """The vectors found are the spec's: what training's are instead."""
    trained = [Sample(payload=s.payload, found=s.expected) for s in samples if s.expected is not None]
    return _by_training(_vectors(trained, spec, tensor))
