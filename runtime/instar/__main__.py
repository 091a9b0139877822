"""`python -m instar`: the command `instar`, for whoever does not know where its script is."""

import sys

from instar.commands.main import main

sys.exit(main())
