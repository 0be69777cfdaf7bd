"""`python -m longvid`: the command line."""

from __future__ import annotations

from longvid.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
