"""What each patch of a generated frame shows, from the poses of its things.

The targets are analytic (no pixels are read): a patch belongs to the nearest thing whose disc
covers its centre, to the sign where the panel covers it, else to the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longvid.world.draw import Poses
from longvid.world.scene import SIGN_RADIUS

TURN_SYMMETRY = (0, 4, 1, 5, 4, 0, 1, 1)
"""For each shape, how many turns look the same (0: every turn)."""


@dataclass(frozen=True, slots=True)
class PatchTargets:
    """Targets of N frames on a grid of P patches; -1 (or mask False) where a target does not apply.

    `owner` (N, P): slot of the thing, 4 for the sign, -1 for background. `offset` (N, P, 3): from
    the patch centre to the thing's centre in grid cells, and its radius in grid cells.
    """

    owner: Tensor
    shape: Tensor
    color: Tensor
    glyph: Tensor
    offset: Tensor
    turn: Tensor
    has_turn: Tensor


def patch_targets(poses: Poses, scenery: Tensor, grid: int) -> PatchTargets:
    """Compute the targets of every patch.

    Args:
        poses: of N frames.
        scenery: (N, 7) rows of `ShotTable.scenery` of the same frames.
        grid: patches along one side.
    """
    axis = (torch.arange(grid, device=scenery.device) + 0.5) / grid
    center_y, center_x = torch.meshgrid(axis, axis, indexing="ij")
    px, py = center_x.reshape(1, -1, 1), center_y.reshape(1, -1, 1)  # (1, P, 1)
    dx, dy = poses.x[:, None] - px, poses.y[:, None] - py  # (N, P, 4)
    reach = torch.hypot(dx, dy) / poses.radius[:, None]
    reach = torch.where(poses.visible[:, None], reach, torch.full_like(reach, 9.0))
    nearest, slot = reach.min(dim=-1)  # (N, P)
    sign_dx = (scenery[:, 5, None] - px[..., 0]).abs()
    sign_dy = (scenery[:, 6, None] - py[..., 0]).abs()
    on_sign = (torch.maximum(sign_dx, sign_dy) < SIGN_RADIUS) & (scenery[:, 4, None] >= 0)
    none = torch.full_like(slot, -1)
    owner = torch.where(nearest < 0.95, slot, none)
    owner = torch.where(on_sign, torch.full_like(slot, 4), owner)
    thing = (owner >= 0) & (owner < 4)
    safe = owner.clamp(0, 3)
    shape = poses.shape.gather(1, safe)
    angle = poses.angle.gather(1, safe)
    symmetry = torch.tensor(TURN_SYMMETRY, device=angle.device)[shape]
    turn = torch.stack([torch.cos(symmetry * angle), torch.sin(symmetry * angle)], dim=-1)
    picked = safe[..., None]
    offset = torch.stack(
        [
            dx.gather(2, picked)[..., 0] * grid,
            dy.gather(2, picked)[..., 0] * grid,
            poses.radius.gather(1, safe) * grid,
        ],
        dim=-1,
    )
    return PatchTargets(
        owner=owner,
        shape=torch.where(thing, shape, none),
        color=torch.where(thing, poses.color.gather(1, safe), none),
        glyph=torch.where(on_sign, scenery[:, 4, None].long().expand_as(slot), none),
        offset=offset,
        turn=turn,
        has_turn=thing & (symmetry > 0),
    )
