"""The library of image faults: every family, and mixes of two at middling strength."""

from typing import Final

from calibration.replay.fault import Fault, mix
from calibration.replay.faults_lens import lens_faults
from calibration.replay.faults_light import light_faults
from calibration.replay.faults_sensor import sensor_faults
from calibration.replay.faults_step import step_faults

_PAIRS: Final = (
    (("data:motion", "9 px at 90°"), ("data:dark", "gain .35")),
    (("data:dark", "exposure -3 EV"), ("data:noise", "Gaussian 20")),
    (("data:dirt", "14 drops"), ("data:bright", "gain 1.4")),
    (("data:tint", "very warm"), ("data:blur", "Gaussian 1.6 px")),
    (("data:blur", "defocus 5 px"), ("data:compression", "JPEG 10")),
    (("data:occlusion", "left third"), ("data:dark", "gamma 2")),
    (("preprocess:crop", "central 0.6"), ("preprocess:color", "channels bgr")),
    (("preprocess:rotate", "90° clockwise"), ("data:dark", "gain .35")),
    (("preprocess:rotate", "180°"), ("preprocess:color", "channels bgr")),
    (("data:dark", "gain .35"), ("preprocess:color", "channels bgr")),
    (("data:contrast", "contrast .35"), ("preprocess:resize", "resized through 1/4")),
    (("data:blur", "Gaussian 1.6 px"), ("preprocess:normalize", "0 … 1")),
    (("data:bright", "gamma .5"), ("preprocess:crop", "upper left .7")),
)


def image_faults() -> tuple[Fault, ...]:
    """All single faults, and the mixes behind them."""
    singles = (*step_faults(), *light_faults(), *lens_faults(), *sensor_faults())
    found = {(fault.family, fault.name): fault for fault in singles}
    return (*singles, *(mix(found[first], found[second]) for first, second in _PAIRS))
