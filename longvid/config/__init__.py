"""One configuration for the whole path: nested frozen dataclasses, read from one TOML file.

The index side (sample, reducer, encoder, compressors, store) decides what is in a store and is
fingerprinted; the ask side (selectors, llm, ask) may change with every question. Every number has
one default, in the field of the dataclass that uses it; a preset only says where it differs.
"""

from longvid.config.configuration import Config, Layout, load_config, load_layout, torch_device
from longvid.config.sections import TOKEN_KINDS, Ask, RayResources, Run, StoreOptions
from longvid.config.toml_files import change, preset_names

__all__ = [
    "TOKEN_KINDS",
    "Ask",
    "Config",
    "Layout",
    "RayResources",
    "Run",
    "StoreOptions",
    "change",
    "load_config",
    "load_layout",
    "preset_names",
    "torch_device",
]
