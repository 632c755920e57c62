"""The errors this project raises on purpose.

Each message names the thing, the values, the limit and the cure. Programs show the message alone and
exit with status 2; anything else is a bug and shows its traceback.
"""


class DeepSentinelError(Exception):
    """Base of every error that a user can cause or cure."""


class GridError(DeepSentinelError):
    """A place, tile or patch grid that does not exist or does not fit the lattice."""


class SchemaError(DeepSentinelError):
    """Something on disk is not what the corpus schema says."""


class ChecksumError(SchemaError):
    """Bytes on disk are not the bytes that were committed.

    Attributes:
        row: of the patch in its shard, where the damage is one patch's.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class PhysicsError(DeepSentinelError):
    """Pixels whose values contradict what their band must look like."""


class CorpusError(DeepSentinelError):
    """A corpus that is missing, empty or not fit for the request."""


class OutputExistsError(DeepSentinelError):
    """The place to write to already holds something."""


class StoreError(DeepSentinelError):
    """A remote store that does not answer, or not as it should."""
