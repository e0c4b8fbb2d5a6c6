"""The trained model as its files hold it: a Keras file or a SavedModel folder. Needs TensorFlow."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import InputError, MachineError
from calibration.schemes.quiet import silent


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """``keras`` is the model object where the file is Keras' own, None for a bare SavedModel."""

    path: Path
    keras: Any | None

    @property
    def name(self) -> str:
        return self.path.stem

    def converter(self) -> Any:
        """A new TFLiteConverter for it."""
        tf = tensorflow()
        if self.keras is not None:
            return tf.lite.TFLiteConverter.from_keras_model(self.keras)
        return tf.lite.TFLiteConverter.from_saved_model(str(self.path))


def tensorflow() -> Any:
    """The module. Raises MachineError with what to type where it is missing."""
    # Its C++ greets on standard error; what fails is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with silent():
            import tensorflow
    except ImportError:
        raise MachineError(
            "schemes: TensorFlow is missing; on the workstation: pip install 'litewatch[workstation]'"
        ) from None
    return tensorflow


def read(path: Path) -> TrainedModel:
    """Raises InputError when ``path`` holds no model that TensorFlow reads."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    tf = tensorflow()
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise InputError(f"{path}: no SavedModel (saved_model.pb is missing)")
        return _loadable(TrainedModel(path=path, keras=None))
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise InputError(f"{path}: expected a .keras or .h5 file, or a SavedModel folder")
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise
        raise InputError(f"{path}: Keras cannot load it: {' '.join(str(error).split())[:300]}") from None
    for tensor in getattr(model, "inputs", None) or ():
        if None in tuple(tensor.shape)[1:]:
            raise InputError(
                f"{path}: its input has no fixed size (shape {tuple(tensor.shape)}): export it with one"
            )
    return TrainedModel(path=path, keras=model)


def _loadable(model: TrainedModel) -> TrainedModel:
    try:
        with silent():
            model.converter()
    except Exception as error:  # protobuf's, TensorFlow's and the file system's, each of its own kind
        raise InputError(
            f"{model.path}: TensorFlow cannot load it: {' '.join(str(error).split())[:300]}"
        ) from None
    return model
