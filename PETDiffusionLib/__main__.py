"""`python -m PETDiffusionLib`: the same as the command `petdiffusion`."""

import sys

from PETDiffusionLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
