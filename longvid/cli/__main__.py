"""`python -m longvid.cli`: the command line without an installed script."""

from longvid.cli import main

raise SystemExit(main())
