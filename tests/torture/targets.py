"""What is fuzzed. Another reader's files are added to `RECORDED`, a file of our own to `STATE`."""

from tests.torture.recorded import RECORDED
from tests.torture.state import STATE

TARGETS = (*RECORDED, *STATE)
