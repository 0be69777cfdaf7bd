"""The tools, as the Model Context Protocol describes them, over stdio or HTTP.

longvid mcp --store STORE --root FOLDER              for an agent that starts it
longvid mcp --store STORE --http --port 8001         for agents on this machine
"""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ImageContent, TextContent, ToolAnnotations
from pydantic import Field

from longvid import __version__
from longvid.errors import LongvidError, counted
from longvid.indexing.report import Progress
from longvid.mcp.video_library import VideoLibrary
from longvid.types.text_line import TextSourceName

Result = TypeVar("Result")

_INSTRUCTIONS = """\
longvid answers questions about long videos and names the time spans that support each answer.
Call list_videos first. Use search_video to find moments and ask_video for answers; quote the
evidence with its times. A video that is not listed must be indexed with index_video, once; later
questions are fast. get_frames shows what is seen at a moment, get_transcript the words spoken or
written. An entry marked stale was indexed from a file that has changed since."""

_Video = Annotated[str | None, Field(description="Id, name or path of one video; null: all.")]
_READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def make_server(library: VideoLibrary) -> MCPServer[Any]:
    """Return the server of a library.

    Args:
        library: The store, and the folders from which it may index.
    """
    server: MCPServer[Any] = MCPServer(
        "longvid", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )

    @server.tool(annotations=_READ_ONLY)
    async def list_videos() -> list[dict[str, Any]]:
        """List the indexed videos: id, name, path, duration, and whether the file changed since."""
        return await _off_thread(library.list_videos)

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    async def index_video(
        path: Annotated[str, Field(description="A video file, or a folder of them.")],
        context: Context[Any, Any],
    ) -> dict[str, Any]:
        """Index a video so that it can be searched and asked. Done once for each video."""
        loop = asyncio.get_running_loop()

        def show(progress: Progress) -> None:
            reported = context.report_progress(
                progress.seconds_done,
                progress.seconds_known or None,
                f"{counted(progress.videos_done, 'video')} done, {progress.current}",
            )
            asyncio.run_coroutine_threadsafe(reported, loop)

        return await _off_thread(library.index, path, show)

    @server.tool(annotations=_READ_ONLY)
    async def search_video(
        text: Annotated[str, Field(description="What to look for, in words.")],
        video: _Video = None,
        top_k: Annotated[int, Field(description="How many moments, 1 to 50.")] = 5,
    ) -> dict[str, Any]:
        """Find speech and written text with these words, then moments that look like them.

        Of the `results`, those with a `text` are lines, with their `source`; the others are moments
        of pictures. Each kind is in order of its score; the two scales differ. A `note` says where
        nothing fits, or what cannot be relied on.
        """
        return await _off_thread(library.search, text, video, top_k)

    @server.tool(annotations=_READ_ONLY)
    async def ask_video(
        question: str,
        video: _Video = None,
        choices: Annotated[
            list[str] | None, Field(description="Answers to choose from, two or more.")
        ] = None,
        budget: Annotated[
            int | None, Field(description="Most visual tokens shown to the model.")
        ] = None,
    ) -> dict[str, Any]:
        """Answer a question about one video or all of them, with the supporting time spans."""
        return await _off_thread(library.ask, question, video, choices or (), budget)

    @server.tool(annotations=_READ_ONLY, structured_output=False)
    async def get_frames(
        video: Annotated[str, Field(description="Id, name or path of the video.")],
        seconds: Annotated[
            list[float], Field(description="Times; the nearest stored picture of each is given.")
        ],
    ) -> list[TextContent | ImageContent]:
        """Show the stored pictures nearest to given times; each says its own time.

        A store keeps one picture every few seconds (or every sampled frame): what is visible for a
        moment only may not be in it.
        """
        pictures = await _off_thread(library.frames, video, seconds)
        content: list[TextContent | ImageContent] = []
        for picture in pictures:
            content.append(TextContent(type="text", text=f"picture at {picture.pts_seconds:.3f} s"))
            content.append(
                ImageContent(
                    type="image",
                    data=base64.b64encode(picture.jpeg).decode(),
                    mime_type="image/jpeg",
                )
            )
        return content

    @server.tool(annotations=_READ_ONLY)
    async def get_transcript(
        video: Annotated[str, Field(description="Id, name or path of the video.")],
        start_seconds: float = 0.0,
        end_seconds: float = 1e9,
        source: Annotated[
            TextSourceName | None, Field(description="The only one wanted; null: all three.")
        ] = None,
    ) -> dict[str, Any]:
        """Return the spoken and written text in a span of a video, with times and source."""
        return await _off_thread(library.transcript, video, start_seconds, end_seconds, source)

    return server


async def _off_thread(call: Callable[..., Result], *arguments: Any) -> Result:
    """Do blocking work beside the protocol; longvid's errors become sentences for the agent."""
    try:
        return await asyncio.to_thread(functools.partial(call, *arguments))
    except LongvidError as error:
        raise ToolError(str(error)) from error


def run(store: str, config: str, roots: list[Path], host: str | None, port: int) -> None:
    """Serve until standard input closes, or over HTTP until the process is stopped.

    Args:
        store: Folder or URI.
        config: Preset or TOML file of a new store.
        roots: Folders whose files may be indexed.
        host: Address for HTTP, None for stdio.
        port: For HTTP.
    """
    server = make_server(VideoLibrary(store, config, roots))
    if host is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host=host, port=port)
