"""Log lines: `2026-01-31T12:00:00.123Z INFO logger message`, one record a line."""

import logging
import time


class LineFormatter(logging.Formatter):
    """UTC time with milliseconds first, so that lines of many processes sort and filter by time."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self):
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
