"""`python -m longvid.cli`: the command line without an installed script."""

from longvid.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
