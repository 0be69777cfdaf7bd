"""Commands that show stored video elsewhere than in a terminal: serve, mcp, clip, report."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from longvid.cli.command import Commands
from longvid.cli.output import OK, clock, dump, printable, read_clock, remark, say
from longvid.errors import ConfigError, StoreError

#: Longest first line of a request, beside its headers.
_REQUEST_LINE_BYTES = 16_384


def add_commands(commands: Commands) -> None:
    """Register them."""
    serve = commands.add("serve", _serve, "Serve stores: an OpenAI endpoint, an API and a page.")
    serve.add_argument(
        "--store",
        action="append",
        required=True,
        metavar="[NAME=]PATH|URI",
        help="a store, made when it does not exist; give it again for another",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    serve.add_argument("--config", default="mini", metavar="NAME|FILE", help="of a new store")
    serve.add_argument("--data", type=Path, help="uploads and jobs (default: in the cache folder)")
    serve.add_argument("--api-key-file", type=Path, metavar="FILE", help="TOML with [[key]] tables")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which the server is asked",
    )
    serve.add_argument(
        "--root", action="append", default=[], type=Path, help="folder whose files may be indexed"
    )
    serve.add_argument(
        "--allow-domain",
        action="append",
        default=[],
        metavar="NAME",
        help="fetch videos from this host, or from *.NAME; none: nothing is fetched",
    )
    serve.add_argument(
        "--allow-any-public-url", action="store_true", help="fetch from every public address"
    )
    serve.add_argument("--base-url", default="", help="address for links in answers")

    mcp = commands.add("mcp", _mcp, "Serve a store to agents: the Model Context Protocol.")
    mcp.add_argument("--store", required=True, metavar="PATH|URI", help="made when not there")
    mcp.add_argument("--config", default="mini", metavar="NAME|FILE", help="of a new store")
    mcp.add_argument(
        "--root", action="append", default=[], type=Path, help="folder whose files may be indexed"
    )
    mcp.add_argument("--http", action="store_true", help="over HTTP instead of standard input")
    mcp.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    mcp.add_argument("--port", type=int, default=8001, help="(default: 8001)")

    clip = commands.add("clip", _clip, "Cut a span out of a video, as H.264 in MP4.")
    clip.add_argument("video", help="a local file; with --store a name, path or id in it")
    clip.add_argument("--store", metavar="PATH|URI", help="store that knows the video's name")
    clip.add_argument("start", help="seconds or h:mm:ss")
    clip.add_argument("end", help="seconds or h:mm:ss")
    clip.add_argument("--output", type=Path, help="default: VIDEO.START-END.mp4 in this folder")

    report = commands.add(
        "report", _report, "Write a store as one HTML page, or as CSV tables.", commands.store
    )
    report.add_argument(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="file to write (default: report.html)",
    )
    report.add_argument(
        "--question", action="append", default=[], help="ask it, and show answer and evidence"
    )
    report.add_argument(
        "--csv", type=Path, metavar="FOLDER", help="write videos.csv and failures.csv instead"
    )


def _serve(options: argparse.Namespace) -> int:
    try:
        import uvicorn

        from longvid.server.app import create_app
    except ImportError as error:
        raise ConfigError(
            f"longvid serve needs packages that are not installed ({error}); install "
            "longvid[server]."
        ) from error
    from longvid.paths import cache_home
    from longvid.server.settings import ServerSettings

    stores = dict(_named(text) for text in options.store)
    settings = ServerSettings(
        stores=stores,
        data_dir=options.data or cache_home() / "server",
        host=options.host,
        port=options.port,
        config=options.config,
        api_key_file=options.api_key_file,
        allowed_hosts=tuple(options.allow_host),
        roots=tuple(options.root),
        allowed_domains=tuple(options.allow_domain),
        any_public_url=options.allow_any_public_url,
        base_url=options.base_url,
    )
    app = create_app(settings)
    remark(f"longvid serves http://{options.host}:{options.port} (stop it with Ctrl-C)")
    # uvicorn raises the signal again after it has shut down; by then there is nothing to stop.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        log_level="warning",
        http="h11",
        h11_max_incomplete_event_size=settings.limits.header_bytes + _REQUEST_LINE_BYTES,
        timeout_graceful_shutdown=int(settings.limits.shutdown_seconds),
    )
    return OK


def _mcp(options: argparse.Namespace) -> int:
    try:
        from longvid.mcp.server import run
    except ImportError as error:
        raise ConfigError(
            f"longvid mcp needs packages that are not installed ({error}); install longvid[mcp]."
        ) from error
    from longvid.server.settings import is_loopback

    if options.http and not is_loopback(options.host):
        raise ConfigError(
            f"longvid mcp has no keys, so it listens on loopback addresses only, not on "
            f"{options.host}; put a proxy with authentication before it."
        )
    host = options.host if options.http else None
    run(options.store, options.config, options.root, host, options.port)
    return OK


def _named(text: str) -> tuple[str, str]:
    """Split NAME=PATH; a store without a name is called after its folder."""
    name, equals, uri = text.partition("=")
    if equals and name.isidentifier():
        return name, uri
    return Path(text.rstrip("/")).name or "store", text


def _clip(options: argparse.Namespace) -> int:
    from longvid.decode.clips import cut_clip

    start, end = read_clock(options.start), read_clock(options.end)
    path, clock_start = options.video, None
    if options.store:
        from longvid.store import Store

        store = Store.open(options.store)
        video_id = store.find(options.video)
        [video] = (one.video for one in store.videos() if one.video.video_id == video_id)
        path, clock_start = video.path, video.clock_start_seconds
    target = options.output or Path(f"{Path(path).stem}.{start:g}-{end:g}.mp4")
    facts = cut_clip(path, start, end, target, clock_start)
    if facts["ends_early"]:
        remark(
            f"longvid: {printable(path)} ends before {clock(end)}; the clip's last frame is at "
            f"{clock(facts['end_seconds'])}."
        )
    if options.json:
        dump({"clip": str(target), **facts})
    else:
        say(str(target))
    return OK


def _report(options: argparse.Namespace) -> int:
    from longvid.store import Store
    from longvid.store_report import ask_questions, store_page, store_tables

    if options.csv:
        files = {
            options.csv / f"{name}.csv": text
            for name, text in store_tables(Store.open(options.store)).items()
        }
    else:
        asked = []
        if options.question:
            from longvid.qa.video_qa import VideoQA

            with VideoQA(options.store) as qa:
                asked = ask_questions(qa, options.question)
        files = {options.output: store_page(Store.open(options.store), asked)}
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
    if options.json:
        dump([str(path) for path in files])
    else:
        for path in files:
            say(str(path))
    return OK
