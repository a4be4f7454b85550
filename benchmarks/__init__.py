"""Ratios to plain transcriptions of the originals' formulas, measured in one run on one machine."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler that counts memory would write to the terminal
