// What the timeline's canvas shows. Nothing here knows the page: numbers and colors in, strokes out.

import { clock } from "./format.js";

export const ROW = { curve: 70, seen: 30, ruler: 20 };
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400];

export function drawEvidence(context, x, color, evidence, lit) {
  context.font = "12px system-ui, sans-serif";
  for (const one of evidence) {
    context.globalAlpha = one.marker === lit ? 0.6 : 0.3;
    context.fillStyle = color("--slow");
    const width = Math.max(2, x(one.end_seconds) - x(one.start_seconds));
    context.fillRect(x(one.start_seconds), 0, width, ROW.curve);
    context.globalAlpha = 1;
    context.fillStyle = color("--ink");
    context.fillText(`[${one.marker}]`, x(one.start_seconds) + 2, 12);
  }
}

// One stroke a pixel at most: of each pixel's scores the least and the most.
export function drawCurve(context, x, color, curve, length) {
  if (!curve?.times.length) return;
  let least = Infinity;
  let most = -Infinity;
  for (const score of curve.scores) {
    least = Math.min(least, score);
    most = Math.max(most, score);
  }
  const y = (score) => ROW.curve - 4 - ((score - least) / (most - least || 1)) * (ROW.curve - 20);
  const columns = new Map();
  curve.times.forEach((seconds, place) => {
    const column = Math.round(x(seconds));
    const score = curve.scores[place];
    const known = columns.get(column);
    if (known) {
      known[0] = Math.min(known[0], score);
      known[1] = Math.max(known[1], score);
    } else columns.set(column, [score, score]);
  });
  context.strokeStyle = color("--accent");
  context.lineWidth = 2;
  context.beginPath();
  const [[, [first]]] = columns;
  context.moveTo(x(0), y(first)); // a score is its segment's: the curve goes on to both ends
  for (const [column, [low, high]] of columns) {
    context.lineTo(column, y(low));
    if (high > low) context.lineTo(column, y(high));
  }
  context.lineTo(x(length), y(curve.scores.at(-1)));
  context.stroke();
}

// Frames that the model saw: the more tokens, the taller.
export function drawSeen(context, x, color, frames) {
  const most = frames.reduce((sum, frame) => Math.max(sum, frame.num_tokens), 1);
  for (const frame of frames) {
    const height = 4 + (ROW.seen - 8) * (frame.num_tokens / most);
    context.fillStyle = color(frame.num_tokens === most ? "--slow" : "--fast");
    context.fillRect(x(frame.seconds) - 1, ROW.curve + ROW.seen - height, 3, height);
  }
}

export function drawRuler(context, x, color, width, [from, to]) {
  context.fillStyle = color("--quiet");
  context.font = "11px system-ui, sans-serif";
  const step = STEPS.find((one) => (one / (to - from)) * width > 60) ?? 36000;
  for (let seconds = Math.ceil(from / step) * step; seconds < to; seconds += step) {
    context.fillRect(x(seconds), ROW.curve + ROW.seen, 1, 4);
    const words = clock(seconds);
    const fits = x(seconds) + 3 + context.measureText(words).width <= width;
    context.textAlign = fits ? "left" : "right";
    context.fillText(words, x(seconds) + (fits ? 3 : -3), ROW.curve + ROW.seen + 14);
  }
  context.textAlign = "left";
}

export function drawRange(context, x, color, range) {
  if (!range) return;
  context.globalAlpha = 0.25;
  context.fillStyle = color("--accent");
  context.fillRect(x(range[0]), 0, x(range[1]) - x(range[0]), ROW.curve + ROW.seen);
  context.globalAlpha = 1;
}

export function drawPosition(context, x, color, seconds) {
  context.fillStyle = color("--ink");
  context.fillRect(x(seconds) - 1, 0, 2, ROW.curve + ROW.seen);
}
