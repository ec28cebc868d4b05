"""python -m tf_ls is the command tf-ls."""

import sys

from tf_ls.command_line.main import main

sys.exit(main())
