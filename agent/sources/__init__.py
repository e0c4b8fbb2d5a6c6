"""Where frames come from. A new kind is one file here and one line in ``KINDS``."""

KINDS = {
    "directory": "agent.sources.directory:Directory",
    "video": "agent.sources.video:Video",
    "vectors": "agent.sources.vectors:Vectors",
    "camera": "agent.sources.camera:Camera",
    "rpicam": "agent.sources.rpicam:Rpicam",
    "stream": "agent.sources.stream:Stream",
    "mqtt": "agent.sources.mqtt:Mqtt",
}
"""Kind in agent.yaml -> ``module:Class``, imported only when it is chosen."""
