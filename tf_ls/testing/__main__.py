"""python -m tf_ls.testing: see command_line.py."""

import sys

from tf_ls.testing.command_line import main

sys.exit(main())
