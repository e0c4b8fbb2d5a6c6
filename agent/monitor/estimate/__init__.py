"""Accuracy now, without labels: from how sure the model is, and from what replayed faults cost it."""

from agent.monitor.estimate.estimator import Estimator as Estimator
from agent.monitor.estimate.estimator_file import decode as decode
from agent.monitor.estimate.estimator_file import encode as encode
