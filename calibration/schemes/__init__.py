"""Quantization schemes of one trained model, converted, measured and compared. Workstation only.

A scheme is a line in ``KINDS``: how it is made, in words, and what it needs. Conversion is TensorFlow's
and LiteRT's own; ``comparison`` runs the results as a device would.
"""

from calibration.schemes.scheme import Scheme

KINDS: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="float32", words="nothing quantized", maker="converter"),
        Scheme(name="float16", words="weights in 16-bit float", maker="converter"),
        Scheme(name="dynamic", words="8-bit weights, activations quantized while running", maker="converter"),
        Scheme(
            name="int8",
            words="8-bit weights per channel and activations, float input and output",
            maker="converter",
            needs=("representative",),
        ),
        Scheme(
            name="int8-io",
            words="as int8, with int8 input and output",
            maker="converter",
            needs=("representative",),
        ),
        Scheme(
            name="uint8-io",
            words="as int8, with uint8 input and output (the Edge TPU's usual form)",
            maker="converter",
            needs=("representative",),
        ),
        Scheme(
            name="int8-per-tensor",
            words="as int8, with one scale per weight tensor",
            maker="converter",
            needs=("representative",),
        ),
        Scheme(
            name="int16x8",
            words="8-bit weights, 16-bit activations",
            maker="converter",
            needs=("representative",),
        ),
        Scheme(
            name="mixed",
            words="as int8-io, but the layers that lose most stay in float",
            maker="mixed",
            needs=("representative",),
        ),
        Scheme(
            name="qat",
            words="int8 after quantization-aware training",
            maker="qat",
            needs=("representative", "training"),
        ),
    )
}
