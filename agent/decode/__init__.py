"""Raw output tensors to predictions: pure, and the same whatever ran the model.

A kind is a frozen dataclass whose fields are its options in the bundle's manifest. ``decode`` runs
for every frame; ``check`` says once, when model and manifest first meet, whether they fit.
"""

KINDS = {
    "classification": "agent.decode.classification:ClassificationDecoder",
    "detection": "agent.decode.detection:DetectionDecoder",
    "regression": "agent.decode.regression:RegressionDecoder",
}
