"""What "unchanged" means: the bundle's reference, made from held-out inputs, or a device's own,
made from its commissioning.

Two disjoint sets of rows make it. The *profile rows* give bins, counts, moments and covariance,
which windows are compared with. The *calibration rows* are kept as they are, and windows drawn
from them say how far unchanged data strays: thresholds taken from the profile's own rows would be
too tight. A device's own baseline comes in order of time, and shows how far its days wander.
"""

import dataclasses
import itertools
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent import npy
from agent.contracts import Profile
from agent.monitor.bins import quantile_edges
from agent.monitor.groups import Groups
from agent.monitor.profiles import merge, profile_of
from agent.monitor.reference_file import FeatureEntry, GroupEntry, ReferenceFile, parse, parse_rows
from agent.monitor.scores import bin_scores, score_covariance
from agent.monitor.wander import Wander, wander_of

MOST_ELEMENTS = 64
"""Products are summed of a vector's first so many elements: their number grows with the square."""
VECTOR_FAMILY = "value"
"""Family of a vector's elements, which come before all other features."""
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """F features, N calibration rows.

    ``features`` and ``families`` name each feature; edges float32 (F, 15) cut the 16 bins (see
    ``bins``). ``profile`` counts the profile rows; ``covariance`` is that of their bin scores (see
    ``scores``), float64 (F, F). calibration is float32 (N, F); calibration_groups, int64 (N,), has
    each row's group, -1 without classes. ``accuracy`` (or ``mse``) was measured on ``labelled`` of
    the held-out inputs, None without labels. ``fingerprint`` is the preprocess spec's.

    Of a device's own reference only, and not written to a file: ``wander`` is how far its normal days
    wander (None: rows are exchangeable), profile_right float64 (M,) and calibration_right (N,) the
    calibrated probability that each row's prediction is right.
    """

    features: tuple[str, ...]
    families: tuple[str, ...]
    edges: NDArray[np.float32]
    profile: Profile
    covariance: NDArray[np.float64]
    calibration: NDArray[np.float32]
    calibration_groups: NDArray[np.int64]
    groups: Groups
    accuracy: float | None
    mse: float | None
    labelled: int
    fingerprint: str
    wander: Wander | None = None
    profile_right: NDArray[np.float64] | None = None
    calibration_right: NDArray[np.float64] | None = None


def build(
    *,
    features: tuple[str, ...],
    families: tuple[str, ...],
    profile_rows: NDArray[np.float32],
    profile_groups: NDArray[np.int64],
    pixels: NDArray[np.int64],
    calibration: NDArray[np.float32],
    calibration_groups: NDArray[np.int64],
    groups: Groups,
    fingerprint: str,
    accuracy: float | None = None,
    mse: float | None = None,
    labelled: int = 0,
    blocks: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    profile_right: NDArray[np.float64] | None = None,
    calibration_right: NDArray[np.float64] | None = None,
) -> Reference:
    """A reference from profile rows (M, F), M at least 1, which may be a memory map: they are read
    column by column and in chunks. ``pixels`` are the pixel counts of the profile rows' images,
    int64 (3, 256), or (0, 256) for vectors.

    ``blocks`` are the blocks of the profile rows (M,) and of the calibration rows (N,), when both come
    from one stream: numbers in order of time, each block about as many rows as a window. Both kinds of
    rows should be spread over every block. With too few blocks for ``wander_of`` it stays None.
    """
    edges = quantile_edges(profile_rows)
    elements = vector_elements(families)
    profile = profile_from_rows(
        profile_rows,
        profile_groups,
        features=features,
        edges=edges,
        groups=groups,
        pixels=pixels,
        elements=elements,
    )
    wander = None
    if blocks is not None:
        wander = wander_of(
            np.concatenate([profile_rows, calibration]),
            np.concatenate([profile_groups, calibration_groups]),
            np.concatenate(blocks),
            edges=edges,
            scores=bin_scores(profile.counts),
            n_groups=len(groups.names),
            elements=elements,
            calibration_blocks=blocks[1],
        )
    return Reference(
        features=features,
        families=families,
        edges=edges,
        profile=profile,
        covariance=score_covariance(profile_rows, edges, profile.counts),
        calibration=np.array(calibration, dtype=np.float32),
        calibration_groups=np.array(calibration_groups, dtype=np.int64),
        groups=groups,
        accuracy=accuracy,
        mse=mse,
        labelled=labelled,
        fingerprint=fingerprint,
        wander=wander,
        profile_right=profile_right,
        calibration_right=calibration_right,
    )


def vector_elements(families: tuple[str, ...]) -> int:
    """How many of the leading features are a vector's elements whose products are summed."""
    leading = sum(1 for _ in itertools.takewhile(lambda family: family == VECTOR_FAMILY, families))
    return min(leading, MOST_ELEMENTS)


def profile_from_rows(
    rows: NDArray[np.float32],
    row_groups: NDArray[np.int64],
    *,
    features: tuple[str, ...],
    edges: NDArray[np.float32],
    groups: Groups,
    pixels: NDArray[np.int64],
    elements: int = 0,
) -> Profile:
    """The profile of ``rows`` (N, F), read in chunks so that memory does not grow with N."""

    def chunk(start: int, stop: int, pixels: NDArray[np.int64]) -> Profile:
        return profile_of(
            np.asarray(rows[start:stop]),
            np.asarray(row_groups[start:stop]),
            features=features,
            edges=edges,
            n_groups=len(groups.names),
            pixels=pixels,
            elements=elements,
        )

    profile = chunk(0, 0, pixels)
    for start in range(0, len(rows), _CHUNK):
        profile = merge(profile, chunk(start, start + _CHUNK, np.zeros_like(pixels)))
    return profile


def encode(reference: Reference) -> tuple[bytes, bytes]:
    """``reference.json`` and ``calibration.npy``; ``decode`` gives back the same reference."""
    profile, groups = reference.profile, reference.groups
    rows = zip(reference.features, reference.families, strict=True)
    file = ReferenceFile(
        schema="litewatch.reference/1",
        fingerprint=reference.fingerprint,
        n=profile.n,
        accuracy=reference.accuracy,
        mse=reference.mse,
        labelled=reference.labelled,
        features=tuple(
            FeatureEntry(
                name=name,
                family=family,
                edges=tuple(reference.edges[at].tolist()),
                counts=tuple(profile.counts[at].tolist()),
                mean=float(profile.mean[at]),
                m2=float(profile.m2[at]),
            )
            for at, (name, family) in enumerate(rows)
        ),
        groups=tuple(
            GroupEntry(name=name, index=index, count=int(count))
            for name, index, count in zip(groups.names, (*groups.classes, None), profile.groups, strict=False)
        ),
        covariance=_lower(reference.covariance),
        pixels=tuple(tuple(row.tolist()) for row in profile.pixels),
        cross=_lower(profile.cross),
    )
    entries = dataclasses.asdict(file)
    if not file.cross:
        del entries["cross"]  # older agents know no such key
    table = np.column_stack([reference.calibration, reference.calibration_groups]).astype(np.float32)
    return _readable_json(entries).encode(), npy.encode(table)


def _readable_json(entries: dict[str, object]) -> str:
    """JSON with one line per key, feature, group and matrix row."""
    lines = []
    for key, value in entries.items():
        if isinstance(value, tuple) and value:
            items = ",\n".join(f"  {json.dumps(item, allow_nan=False)}" for item in value)
            lines.append(f"{json.dumps(key)}: [\n{items}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lower(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row[: at + 1].tolist()) for at, row in enumerate(matrix))


def _symmetric(lower: tuple[tuple[float, ...], ...]) -> NDArray[np.float64]:
    matrix = np.zeros((len(lower), len(lower)))
    for at, row in enumerate(lower):
        matrix[at, : at + 1] = matrix[: at + 1, at] = row
    return matrix


def decode(json_bytes: bytes, npy_bytes: bytes) -> Reference:
    """The reference in ``reference.json`` and ``calibration.npy``.

    Raises BundleError with every problem by dotted path.
    """
    file = parse(json_bytes)
    calibration, calibration_groups = parse_rows(npy_bytes, file)
    features = tuple(feature.name for feature in file.features)
    profile = Profile(
        features=features,
        n=file.n,
        counts=np.array([feature.counts for feature in file.features], dtype=np.int64),
        mean=np.array([feature.mean for feature in file.features]),
        m2=np.array([feature.m2 for feature in file.features]),
        groups=np.array([group.count for group in file.groups], dtype=np.int64),
        pixels=np.array(file.pixels, dtype=np.int64).reshape(-1, 256),
        cross=_symmetric(file.cross),
    )
    return Reference(
        features=features,
        families=tuple(feature.family for feature in file.features),
        edges=np.array([feature.edges for feature in file.features], dtype=np.float32),
        profile=profile,
        covariance=_symmetric(file.covariance),
        calibration=calibration,
        calibration_groups=calibration_groups,
        groups=Groups(
            names=tuple(group.name for group in file.groups),
            classes=tuple(group.index for group in file.groups if group.index is not None),
        ),
        accuracy=file.accuracy,
        mse=file.mse,
        labelled=file.labelled,
        fingerprint=file.fingerprint,
    )
