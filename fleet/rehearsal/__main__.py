import sys

from fleet.rehearsal.cli import main

if __name__ == "__main__":
    sys.exit(main())
