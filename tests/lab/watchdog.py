"""Takes a test fleet down when the test run that started it ends, however it ends.

The run holds the other end of standard input; the kernel closes it with the run.
"""

import sys

from fleet.rehearsal import Fleet

if __name__ == "__main__":
    sys.stdin.read()
    Fleet(sys.argv[1]).down()
