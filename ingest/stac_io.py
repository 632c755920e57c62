"""How pystac-client talks to a provider that is often busy: it waits, and asks again where an answer breaks off."""

import json
import time
from typing import Any

from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.exceptions import ChunkedEncodingError

from ingest.retries import ANSWER_ATTEMPTS, TIMEOUT_S, retries


class PatientStacIO(StacApiIO):
    """pystac-client's requests with retries of POST as well as GET, of 429 and 504, and of answers cut short.

    Its own defaults retry none of these and wait for ever.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=retries(), timeout=TIMEOUT_S)

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read an answer; again where it ended early or was a gateway's page instead of JSON.

        Raises:
            APIError: the server refuses, or keeps breaking off.
            json.JSONDecodeError: it keeps answering with something else than JSON.
        """
        for attempt in range(ANSWER_ATTEMPTS - 1):
            try:
                return super().read_json(source, *args, **kwargs)
            except APIError as error:
                if not isinstance(error.__context__, ChunkedEncodingError):
                    raise
            except json.JSONDecodeError:
                pass  # asked again below; the last answer decides
            time.sleep(attempt)
        return super().read_json(source, *args, **kwargs)
