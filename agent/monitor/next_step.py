"""What to type next about a cause. Pure; one line for every cause that can be named."""

_LOOK = "litewatch command sample --device DEVICE --site SITE"
_CHECK = "litewatch check BUNDLE"

_WHOLE = {
    "hardware": "litewatch command canary --local; if it stays, copy the bundle again, then test the memory",
    "delegate": "litewatch doctor; run on the CPU (model.delegate: cpu) until it is repaired",
    "kernels": f"{_CHECK}; run with other kernels (model.delegate: {{kind: cpu, kernels: builtin}})",
    "quantization": "litewatch schemes, and pack what it finds",
    "source": f"litewatch doctor, then {_LOOK}: is the camera uncovered, lit and delivering new pictures?",
}
_DATA = {
    "class": "litewatch label: other classes than before; only labels tell whether they are recognised",
    "output": f"{_CHECK}: the outputs changed more than the inputs",
    "value": "litewatch doctor, then compare the sensor with one that is known to be good",
}


def next_step(cause: str) -> str:
    """The command to type next about ``cause``, a word of the diagnosis's vocabulary."""
    kind, _, what = cause.partition(":")
    if kind == "preprocess":
        return (
            f"{_CHECK} --deployed deployed.yaml: does '{what}' do here what the spec says? "
            f"Then {_LOOK}: the picture may arrive changed"
        )
    if kind == "data":
        return _DATA.get(what) or f"{_LOOK}, and look at it for {what}"
    return _WHOLE.get(kind, _CHECK)
