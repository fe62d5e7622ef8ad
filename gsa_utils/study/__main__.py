"""`python -m gsa_utils.study`: see runner.py."""

import sys

from gsa_utils.study.runner import main

sys.exit(main())
