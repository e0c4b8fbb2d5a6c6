"""The link of an agent without a broker: everything stays in the outbox, and that is said."""

from collections.abc import Callable, Sequence

from agent.telemetry.ports import Closed, Event, LinkError, Publication


class NoLink:
    """Every attempt to connect ends at once; see ``ports.Link``."""

    def open(
        self,
        connection: int,
        *,
        will: Publication | None,
        topics: Sequence[str],
        post: Callable[[Event], None],
    ) -> None:
        post(
            Closed(
                connection=connection, problem="no section mqtt in agent.yaml: messages stay in the outbox"
            )
        )

    def publish(self, publication: Publication) -> int:
        raise LinkError("no broker")

    def subscribe(self, topic: str, *, kept: bool = False) -> None:
        raise LinkError("no broker")

    def unsubscribe(self, topic: str) -> None:
        raise LinkError("no broker")

    def close(self) -> None:
        return
