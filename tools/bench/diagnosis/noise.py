"""The diagnosis' own yardstick, run beforehand: one level of noise on the right tensor."""

from agent.contracts import Array, TensorSpec
from agent.monitor import wobble
from agent.preprocess.spec import parse
from tools.bench.diagnosis import value_faults
from tools.bench.diagnosis.classifiers import preprocess_yaml
from tools.bench.diagnosis.pipelines import Pipeline, Training, right


def noise_pipeline(training: Training) -> Pipeline:
    return Pipeline(
        name="one level of noise",
        by=training,
        step=None,
        picture=right(training).picture,
        values=_noised,
        training=training,
    )


def _noised(picture: Array, tensor: TensorSpec) -> Array:
    clean = value_faults.trained(picture, tensor)
    size = wobble.level(parse(preprocess_yaml("central", tensor.dtype)), tensor, [clean])
    return wobble.wobbled([clean], size)[0]


NOISE: dict[Training, str] = {
    "central": noise_pipeline("central").key,
    "aspect": noise_pipeline("aspect").key,
}
NOISE_PIPELINES = {noise_pipeline(training).key: noise_pipeline(training) for training in NOISE}
