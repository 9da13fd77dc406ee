"""The exception for faults that the user can fix: `python -m jobs.x` prints it and exits with 2.

A message states the value, the limit and the remedy, e.g.
    data.train_file: runs.jsonl:17: not JSON (Expecting ',' delimiter, column 40); fix that line
"""


class UserError(ValueError):
    """One or more faults in the user's input, each one line without a traceback."""

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        assert faults, "a UserError needs at least one fault"
        self.faults = faults
        super().__init__("\n".join(faults))
