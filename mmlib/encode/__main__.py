"""python -m mmlib.encode"""

import sys

from mmlib.encode import main

if __name__ == "__main__":
    sys.exit(main())
