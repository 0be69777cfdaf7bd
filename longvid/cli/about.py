"""Commands about longvid itself: config, doctor, demo."""

from __future__ import annotations

import argparse
import dataclasses

from longvid.cli.command import Commands, load
from longvid.cli.show import ERROR, OK, dump, table

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Register them."""
    commands.add("config", _config, "Print a configuration as TOML.", commands.configured)
    commands.add("doctor", _doctor, "Say what this machine offers and what longvid will use.")

    demo = commands.add(
        "demo", _demo, "Index real clips and a drawn film, and ask.", commands.configured
    )
    demo.add_argument("videos", nargs="*", metavar="PATH", help="default: the clips of the tests")
    demo.add_argument("--folder", default="demo", help="where the film and the store go")


def _config(options: argparse.Namespace) -> int:
    import tomli_w

    tables = load(options).to_dict()
    if options.json:
        dump(tables)
    else:
        print(tomli_w.dumps(tables), end="")
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from longvid.doctor import examine

    findings = examine()
    if options.json:
        dump([dataclasses.asdict(finding) for finding in findings])
    else:
        table(
            ("", "what", "found", "remark"),
            [(finding.state, finding.what, finding.found, finding.remark) for finding in findings],
        )
    return ERROR if any(finding.state == "error" for finding in findings) else OK


def _demo(options: argparse.Namespace) -> int:
    from longvid.demo import run_demo

    return run_demo(options.videos, options.folder, load(options), as_json=options.json)
