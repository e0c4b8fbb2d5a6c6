"""From a picture to the model's input tensor, rightly and wrongly.

A value stage takes the picture (224×224×3, uint8, or float32 in 0..255) and the tensor it must
fill, and gives the numbers in the tensor's dtype with a batch axis.
"""

import cv2
import numpy as np

from agent.contracts import Array, TensorSpec

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def stored(real: Array, tensor: TensorSpec) -> Array:
    """Real numbers as the tensor stores them; integers are rounded and saturate."""
    if tensor.dtype == "float32":
        return np.ascontiguousarray(real, np.float32)[None]
    limits = np.iinfo(tensor.dtype)
    codes = np.rint(real / np.float32(tensor.scale)) + tensor.zero_point
    return np.asarray(np.clip(codes, limits.min, limits.max).astype(tensor.dtype)[None])


def trained(picture: Array, tensor: TensorSpec) -> Array:
    """[-1, 1]; models of uint8 take the bytes as they are."""
    if tensor.dtype == "uint8":
        return _bytes(picture)
    return stored(picture.astype(np.float32) / np.float32(127.5) - np.float32(1), tensor)


def trained_otherwise(picture: Array, tensor: TensorSpec) -> Array:
    """The same, the arithmetic in another order."""
    if tensor.dtype == "uint8":
        return trained(picture, tensor)
    return stored((picture.astype(np.float32) - np.float32(127.5)) * np.float32(1 / 127.5), tensor)


def unit(picture: Array, tensor: TensorSpec) -> Array:
    """[0, 1] where [-1, 1] was trained."""
    return stored(picture.astype(np.float32) / np.float32(255), tensor)


def unit_opencv(picture: Array, tensor: TensorSpec) -> Array:
    scaled = cv2.multiply(picture, np.ones_like(picture), scale=1 / 255, dtype=cv2.CV_32F)
    return stored(np.asarray(scaled), tensor)


def mean_std(picture: Array, tensor: TensorSpec) -> Array:
    """ImageNet's mean and standard deviation where [-1, 1] was trained."""
    values = picture.astype(np.float32) / np.float32(255)
    return stored((values - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32), tensor)


def mean_std_opencv(picture: Array, tensor: TensorSpec) -> Array:
    planes = [
        (plane.astype(np.float64) - 255 * mean) / (255 * std)
        for plane, mean, std in zip(cv2.split(picture), _MEAN, _STD, strict=True)
    ]
    return stored(np.asarray(cv2.merge(planes)), tensor)


def sign_flipped(picture: Array, tensor: TensorSpec) -> Array:
    """8-bit numbers of the other signedness, bit by bit."""
    codes = trained(picture, tensor)
    return (codes.view(np.uint8) ^ np.uint8(0x80)).view(codes.dtype)


def sign_cut_off(picture: Array, tensor: TensorSpec) -> Array:
    """uint8 tensor: bytes read as int8, what became negative stored as 0."""
    return np.clip(_bytes(picture).view(np.int8), 0, 127).astype(tensor.dtype)


def bytes_cut_off(picture: Array, tensor: TensorSpec) -> Array:
    """int8 tensor: bytes stored as they are, those above 127 as 127."""
    return np.minimum(_bytes(picture), 127).astype(tensor.dtype)


def _bytes(picture: Array) -> Array:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)[None]


def planar(picture: Array, tensor: TensorSpec) -> Array:
    """Channel planes (NCHW) written into an NHWC tensor."""
    codes = trained(picture, tensor)[0]
    return np.ascontiguousarray(codes.transpose(2, 0, 1)).reshape(1, *codes.shape)


def planar_read(picture: Array, tensor: TensorSpec) -> Array:
    """NHWC numbers taken for planes, and rearranged for an NHWC tensor."""
    codes = trained(picture, tensor)[0]
    height, width, channels = codes.shape
    return np.ascontiguousarray(codes.reshape(channels, height, width).transpose(1, 2, 0))[None]
