"""Detectors: each scores profiles against the reference. Name → class, imported when chosen."""

KINDS = {"panel": "agent.monitor.drift.panel:Panel"}
