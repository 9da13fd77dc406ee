"""How long a server asks to wait before the next try.

retry_after_s("2") == 2.0
retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT") == 11.4       that long from now
"""

import re
import time
from email.utils import parsedate_to_datetime


def retry_after_s(retry_after: str) -> float:
    """Seconds of a Retry-After header, which holds a number or a date; 0 where it holds neither."""
    text = retry_after.strip()
    if not text:
        return 0.0
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        return parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
