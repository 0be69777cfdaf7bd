"""SAM 2 as a function that follows boxes through frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.methods.mask_tracks import Masks, Propagate
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import load as load_model
from longvid.models.from_pretrained import resolve_dtype

if TYPE_CHECKING:
    import numpy as np

    from longvid.methods.mask_tracks import Corners

_FAMILY = "sam2_video"
#: SAM's labels of the two corners of a box.
_CORNERS = (2, 3)


def load_mask_tracker(name: str, device: str = "cpu", *, dtype: str = "auto") -> Propagate:
    """Load SAM 2 as a function of frames and the boxes of things in one of them.

    Frames are resized to the model's square whatever their aspect, as its processor does; the masks
    that come back are of the frames' own size. Every thing is followed from its frame to the last,
    then from it to the first.

    Args:
        name: A folder or a hub name, such as "facebook/sam2.1-hiera-tiny".
        device: Where it runs.
        dtype: "auto", "float32", "bfloat16" or "float16".

    Raises:
        ModelError: The checkpoint is missing, incomplete, or of another family.

    Source: Ravi et al. 2024, SAM 2; the loop of transformers' `propagate_in_video_iterator`.
    """
    import transformers

    folder = checkpoint_files.locate(name)
    family = str(checkpoint_files.read_config(folder).get("model_type"))
    if family != _FAMILY:
        raise ModelError(
            f"{folder} is of architecture {family!r}; following boxes needs {_FAMILY}, such as "
            "facebook/sam2.1-hiera-tiny."
        )
    kind = resolve_dtype(dtype, device)
    model = load_model(folder, transformers.Sam2VideoModel, dtype=kind, device=device)

    @no_grad
    def propagate(
        frames: Sequence[np.ndarray], start: int, boxes: Sequence[Corners]
    ) -> list[list[Masks]]:
        session = _session(model, frames, start, boxes)
        height, width = frames[0].shape[:2]
        found: list[list[Masks]] = [[] for _ in frames]
        model(inference_session=session, frame_idx=start)
        for is_reverse in (False, True):
            steps = model.propagate_in_video_iterator(
                session, start_frame_idx=start, reverse=is_reverse
            )
            for out in steps:
                found[out.frame_idx] = _masks(out, height, width)
        return found

    return propagate


def _session(model: Any, frames: Sequence[np.ndarray], start: int, boxes: Sequence[Corners]) -> Any:
    """Return a session over frames with the boxes as prompts of one of them."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    from longvid.models.detection_pixels import resized_pixels

    side = model.config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    session = Sam2VideoInferenceSession(
        video=torch.cat([resized_pixels(frame, height, width) for frame in frames]),
        video_height=height,
        video_width=width,
        inference_device=model.device,
        dtype=model.dtype,
    )
    for number, (left, top, right, bottom) in enumerate(boxes):
        corners = [[left * width, top * height], [right * width, bottom * height]]
        prompt = {
            "point_coords": torch.tensor([[corners]], dtype=torch.float32),
            "point_labels": torch.tensor([[_CORNERS]], dtype=torch.int32),
        }
        session.add_point_inputs(session.obj_id_to_idx(number), start, prompt)
    session.obj_with_new_inputs = list(range(len(boxes)))
    return session


def _masks(out: Any, height: int, width: int) -> list[Masks]:
    """Return each thing's mask and the model's confidence that it is there, of one frame."""
    logits = torch.nn.functional.interpolate(
        out.pred_masks.float(), size=(height, width), mode="bilinear", align_corners=False
    )
    scores = out.object_score_logits.float().reshape(-1).sigmoid().tolist()
    masks = (logits[:, 0] > 0).cpu().numpy()
    return [Masks(mask, score) for mask, score in zip(masks, scores, strict=True)]
