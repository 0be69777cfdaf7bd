// Boxes of what an answer names, drawn over the thumbnail of the evidence that shows it.

const SVG = "http://www.w3.org/2000/svg";
const COLORS = 4; // of the style sheet

// The time in a span at which most tracks have a box, and those boxes; null where none has one.
export function boxesWithin(tracks, { video_id, start_seconds, end_seconds }) {
  const phrases = [...new Set(tracks.map((track) => track.phrase))];
  const byTime = new Map();
  for (const { phrase, boxes } of tracks) {
    for (const { video_id: id, pts_seconds, xyxy } of boxes) {
      if (id !== video_id || pts_seconds < start_seconds || pts_seconds >= end_seconds) continue;
      const found = byTime.get(pts_seconds) ?? [];
      byTime.set(pts_seconds, [...found, { phrase, color: phrases.indexOf(phrase) % COLORS, xyxy }]);
    }
  }
  if (!byTime.size) return null;
  const [seconds, boxes] = [...byTime].sort(([a, one], [b, other]) => other.length - one.length || a - b)[0];
  return { seconds, boxes };
}

// Show the picture of that time with its boxes; the picture is cut to its place, and they with it.
export function drawBoxes(picture, { seconds, boxes }) {
  const address = new URL(picture.src);
  address.searchParams.set("t", seconds.toFixed(3));
  picture.onload = () => {
    const { naturalWidth: width, naturalHeight: height } = picture;
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("class", "boxes");
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("preserveAspectRatio", "xMidYMid slice"); // as the picture's object-fit
    for (const { phrase, color, xyxy } of boxes) {
      const [left, top, right, bottom] = xyxy;
      const box = document.createElementNS(SVG, "rect");
      box.setAttribute("class", `box-${color}`);
      box.setAttribute("x", left * width);
      box.setAttribute("y", top * height);
      box.setAttribute("width", (right - left) * width);
      box.setAttribute("height", (bottom - top) * height);
      const title = document.createElementNS(SVG, "title");
      title.textContent = phrase;
      box.append(title);
      drawing.append(box);
    }
    picture.parentElement.querySelector(".boxes")?.remove();
    picture.after(drawing);
  };
  picture.src = address;
}
