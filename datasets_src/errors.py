"""The one exception for faults a user can mend: `python -m jobs.x` prints it and exits 2.

A message names the value, the limit and the remedy, e.g.
    data.train_file: runs.jsonl:17: not JSON (Expecting ',' delimiter, column 40); fix that line
"""


class UserError(ValueError):
    """One or more faults in what the user gave; each is one line, none is a traceback."""

    def __init__(self, *faults: str) -> None:
        assert faults, "a UserError without a fault says nothing"
        self.faults = faults
        super().__init__("\n".join(faults))
