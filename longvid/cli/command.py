"""What every command shares: its common options, and how it is registered."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from longvid.errors import ConfigError, shown

if TYPE_CHECKING:
    from longvid.config import Config

#: Options that hold text. The others may name files, and a file's name need not be UTF-8.
_TEXTS = {
    "question": "The question",
    "text": "The text",
    "choice": "--choice",
    "set": "--set",
    "things": "--things",
    "tag": "--tag",
    "tags": "A tag",
}


class OneValue(argparse.Action):
    """An option of one value: argparse would keep the last of several that a person gave."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        if before not in (self.default, values):
            raise argparse.ArgumentError(
                self, f"it takes one value, got {shown(before)} and {shown(values)}"
            )
        setattr(namespace, self.dest, values)


def add_tag(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the option that names tags, any number of times."""
    parser.add_argument("--tag", metavar="KEY=VALUE", action="append", default=[], help=meaning)


class Commands:
    """The subcommands of a parser, and the options that several of them take."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        self._shared = argparse.ArgumentParser(add_help=False)
        self._shared.add_argument("--json", action="store_true", help="print the result as JSON")
        self._shared.add_argument(
            "--debug", action="store_true", help="show a traceback for an error"
        )
        #: Options of a command that works on a store.
        self.store = argparse.ArgumentParser(add_help=False)
        self.store.add_argument(
            "--store", action=OneValue, required=True, help="folder or URI of the store"
        )
        #: Options of a command that takes a configuration.
        self.configured = argparse.ArgumentParser(add_help=False)
        self.configured.add_argument(
            "--config", action=OneValue, metavar="NAME|FILE", help="preset or TOML file"
        )
        self.configured.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting"
        )

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        summary: str,
        *parents: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        """Register one command.

        Args:
            name: The word a person types.
            run: Does the work; takes the parsed options and returns the exit status.
            summary: One sentence for `--help`.
            parents: Parsers whose options the command takes too.
        """
        command = self._commands.add_parser(
            name, help=summary, description=summary, parents=[self._shared, *parents]
        )
        command.set_defaults(run=run)
        return command


def load(options: argparse.Namespace) -> Config:
    """Read the configuration that --config and --set name; `mini` when they name none."""
    from longvid.config import load_config

    return load_config(options.config or "mini", options.set)


def require_utf8(options: argparse.Namespace) -> None:
    """Refuse text of the command line whose bytes are no UTF-8.

    Args:
        options: As parsed; Python has put half a surrogate pair for each such byte.

    Raises:
        ConfigError: An option that holds text has such bytes.
    """
    for name, called in _TEXTS.items():
        given = getattr(options, name, None)
        for word in given if isinstance(given, list) else [given]:
            if not isinstance(word, str):
                continue
            try:
                word.encode()
            except UnicodeEncodeError as error:
                raise ConfigError(
                    f"{called} holds bytes that are no UTF-8: {shown(word)}; write it in UTF-8."
                ) from error
