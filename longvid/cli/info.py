"""Commands about longvid itself: config, doctor, models, demo."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from longvid.cli.command import Commands, load
from longvid.cli.output import ERROR, OK, dump, folded, remark, say, table
from longvid.errors import ConfigError, counted

if TYPE_CHECKING:
    from longvid.model_inventory import Model

_MISSING = "missing"


def add_commands(commands: Commands) -> None:
    """Register them."""
    commands.add("config", _config, "Print a configuration as TOML.", commands.configured)
    doctor = commands.add(
        "doctor",
        _doctor,
        "Say what this machine offers; with --config, what a video needs and whether it fits.",
        commands.configured,
    )
    doctor.add_argument(
        "--runner", choices=("local", "ray"), default="local", help="ray: explain the cluster too"
    )
    doctor.add_argument(
        "--hours", type=float, help="say what the configuration needs for a video of this length"
    )
    doctor.add_argument(
        "--store", metavar="STORE", help="say which way its tokens can go to a serving engine"
    )
    models = commands.add(
        "models", _models, "List families, presets and the checkpoints on this machine."
    )
    models.add_argument(
        "--router",
        metavar="STORE",
        help="of a mixture of experts: which experts read what a store shows",
    )
    models.add_argument("--question", default="What is shown?", help="for --router")

    convert = commands.add("convert", _convert, "Rewrite a checkpoint's pickles as safetensors.")
    convert.add_argument("source", metavar="SRC", help="folder or hub name of the checkpoint")
    convert.add_argument("destination", metavar="DST", help="new folder")
    convert.add_argument("--vision-tower", default="", metavar="FILE", help="eva_vit_g.pth")
    convert.add_argument("--bert", default="", metavar="FOLDER", help="tokenizer of LLaMA-VID")

    demo = commands.add(
        "demo", _demo, "Index real clips and a drawn film, and ask.", commands.configured
    )
    demo.add_argument(
        "videos", nargs="*", metavar="PATH", help="default: a clip that travels with longvid"
    )
    demo.add_argument("--folder", default="demo", help="where the film and the store go")


def _config(options: argparse.Namespace) -> int:
    import tomli_w

    tables = load(options).to_dict()
    if options.json:
        dump(tables)
    else:
        say(tomli_w.dumps(tables), end="")
    return OK


def _doctor(options: argparse.Namespace) -> int:
    from longvid.doctor import examine, examine_cluster, examine_config, examine_store

    needs = options.config or options.set or options.hours is not None
    if options.store:
        findings = examine_store(options.store)
    elif options.runner == "ray":
        findings = [*examine(), *examine_cluster(load(options))]
    elif needs:
        hours = 1.0 if options.hours is None else options.hours
        findings = examine_config(load(options), hours)
    else:
        findings = examine()
    if options.json:
        dump([dataclasses.asdict(finding) for finding in findings])
    else:
        table(
            ("", "what", "found", "remark"),
            [(finding.state, finding.what, finding.found, finding.remark) for finding in findings],
        )
    return ERROR if any(finding.state == "error" for finding in findings) else OK


def _convert(options: argparse.Namespace) -> int:
    from longvid.safetensors_conversion import convert

    written = convert(
        options.source, options.destination, vision_tower=options.vision_tower, bert=options.bert
    )
    if options.json:
        dump({**dataclasses.asdict(written), "folder": str(written.folder)})
    else:
        say(
            f"{written.folder}: {counted(written.num_tensors, 'tensor')}, "
            f"{written.weight_bytes:,} bytes in {counted(written.num_files, 'file')}"
        )
    return OK


def _routers(options: argparse.Namespace) -> int:
    from longvid.llm.huggingface import Worker
    from longvid.qa.video_qa import VideoQA
    from longvid.types import Question

    question = Question(options.question)
    with VideoQA(options.router) as qa:
        llm = qa.llm
        if not isinstance(llm, Worker):
            raise ConfigError(
                f"The language model {type(qa.config.llm).__name__} shows no routers; "
                "llm.name = huggingface does."
            )
        shares = llm.router_shares(question, qa.select(question))
    rows = [
        {"layer": one.layer, "visual": one.visual.tolist(), "text": one.text.tolist()}
        for one in shares
    ]
    if options.json:
        dump(rows)
        return OK
    table(
        ("layer", "tokens", "share of each expert"),
        [
            (str(row["layer"]), kind, " ".join(f"{share:.2f}" for share in row[kind]))
            for row in rows
            for kind in ("visual", "text")
        ],
    )
    return OK


def _models(options: argparse.Namespace) -> int:
    if options.router:
        return _routers(options)
    from longvid.progress import busy

    with busy(sys.stderr, "looking for checkpoints"):
        from longvid.model_inventory import models_on_disk
        from longvid.models.families import FAMILIES

        listed = models_on_disk()
    if options.json:
        rows = [{**dataclasses.asdict(model), "found": _found(model)} for model in listed]
        dump({"families": sorted(FAMILIES), "models": rows})
        return OK
    say(folded(f"families: {', '.join(sorted(FAMILIES))}") + "\n")
    # What one checkpoint is named for in one preset is one row.
    parts: dict[tuple[str, str, str], list[str]] = {}
    for model in listed:
        found = _MISSING if model.download else _found(model)
        parts.setdefault((model.preset, model.model, found), []).append(model.part)
    lines = [
        (f"{preset}: {', '.join(names)}" if preset else "", name, found)
        for (preset, name, found), names in parts.items()
    ]
    table(("named by", "model", "found"), lines)
    if downloads := dict.fromkeys(model.download for model in listed if model.download):
        remark("\nGet what is missing with:\n  " + "\n  ".join(downloads))
    return OK


def _found(model: Model) -> str:
    from longvid.doctor import size

    if model.lacking:
        return model.lacking
    num_bytes = size(model.num_bytes) if model.num_bytes else ""
    return ", ".join(filter(None, (model.family, num_bytes))) or "here"


def _demo(options: argparse.Namespace) -> int:
    from longvid.progress import busy

    with busy(sys.stderr, "loading longvid"):
        from longvid.demo import run_demo

    return run_demo(options.videos, options.folder, load(options), as_json=options.json)
