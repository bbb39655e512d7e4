"""`python -m maskformer_model` is the command `maskformer`, for checkouts where that is not installed."""

import sys

from maskformer_model.command_line import main

if __name__ == "__main__":
    sys.exit(main())
