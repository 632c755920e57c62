"""What can go wrong between a STAC API and a shard."""

from catalog.errors import DeepSentinelError


class PlanError(DeepSentinelError):
    """A region, period or plan that cannot be sampled or built."""


class SourceError(DeepSentinelError):
    """A provider that does not answer, or answers with something else than it should."""


class ReadError(DeepSentinelError):
    """An image whose pixels cannot be had now; trying again later may help."""


class WriteError(DeepSentinelError):
    """A corpus folder that cannot be written to, mostly a full disk."""


class WorkerLostError(DeepSentinelError):
    """A worker process that ended without an answer."""


class Refused(DeepSentinelError):  # noqa: N818  an expected outcome, recorded in the ledger
    """A patch that is left out for a reason that trying again does not change.

    Attributes:
        reason: a short key that ledgers and tables count.
        detail: the values behind it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
