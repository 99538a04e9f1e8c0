"""The status in Prometheus' text format."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from negvol_pacs.errors import StorageError
from negvol_pacs.web.node import Node


class _Gauges(Collector):
    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Look at the node; without a ledger that can be read there is its health alone."""
        health = self._node.health()
        yield GaugeMetricFamily("negvol_healthy", "1 if studies are received and measured", int(health.healthy))
        try:
            status, oldest_s = self._node.status(), self._node.oldest_active_s()
        except StorageError:
            return
        studies = GaugeMetricFamily("negvol_studies", "Studies by standing", labels=["standing"])
        for count in status.counts:
            studies.add_metric([count.standing], count.studies)
        yield studies
        yield GaugeMetricFamily("negvol_oldest_active_seconds", "Age of the oldest study not yet measured", oldest_s)
        deliveries = GaugeMetricFamily(
            "negvol_deliveries", "Results to a destination by state", labels=["destination", "state"]
        )
        for traffic in status.destinations:
            for state, number in traffic.deliveries.items():
                deliveries.add_metric([traffic.destination, state], number)
        yield deliveries
        up = GaugeMetricFamily("negvol_process_up", "1 if a process shows that it lives", labels=["kind", "name"])
        for process in status.processes:
            up.add_metric([process.kind, process.name], int(not process.silent))
        yield up
        disk = GaugeMetricFamily(
            "negvol_disk_bytes", "Free space for the state folder and its watermarks", labels=["what"]
        )
        for what in ("free", "total", "low", "least"):
            disk.add_metric([what], getattr(status.disk, what))
        yield disk
        built = GaugeMetricFamily("negvol_build_info", "Version of the status page", labels=["version"])
        built.add_metric([status.version], 1)
        yield built


def text(node: Node) -> bytes:
    """Return all gauges."""
    registry = CollectorRegistry()
    registry.register(_Gauges(node))
    return generate_latest(registry)
