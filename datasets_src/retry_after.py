"""The delay that a server requests in a Retry-After header.

retry_after_s("2") == 2.0
retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT") == 11.4       seconds from now
"""

import re
import time
from email.utils import parsedate_to_datetime


def retry_after_s(retry_after: str) -> float:
    """Seconds to wait by a Retry-After header, a number or a date; 0 if it is neither.

    A date in the past gives a negative number.
    """
    text = retry_after.strip()
    if not text:
        return 0.0
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        return parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
