"""`python -m fundus_ray.cli`."""

import sys

from fundus_ray.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
