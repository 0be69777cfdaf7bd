// The storyboard of a video: pictures cut out of sheets, so that any moment shows without a request.

import { request, url } from "./api.js";

const CUE = /^(\S+) --> (\S+)\n(\S+?)#xywh=(\d+),(\d+),(\d+),(\d+)$/;

function seconds(text) {
  return text.split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
}

export class Storyboard {
  constructor(base, text) {
    this.cues = text
      .trim()
      .split("\n\n")
      .map((block) => CUE.exec(block))
      .filter(Boolean)
      .map(([, start, end, sheet, ...box]) => ({
        start: seconds(start),
        end: seconds(end),
        sheet: `${base}/${sheet}`,
        box: box.map(Number),
      }));
  }

  static async load(videoId) {
    const base = `/api/videos/${videoId}`;
    const answer = await request(url(`${base}/storyboard.vtt`));
    return new Storyboard(base, await answer.text());
  }

  // The picture that is shown at a time: the last that begins before it.
  at(time) {
    let low = 0;
    let high = this.cues.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.cues[middle].start <= time) low = middle;
      else high = middle - 1;
    }
    return this.cues[low];
  }

  // Make an element show a moment, scaled to a height.
  show(element, time, height) {
    const cue = this.at(time);
    if (!cue) return;
    const [left, top, width, tall] = cue.box;
    const scale = height / tall;
    element.style.width = `${width * scale}px`;
    element.style.height = `${height}px`;
    element.style.backgroundImage = `url("${cue.sheet}")`;
    element.style.backgroundSize = `${1600 * scale}px auto`;
    element.style.backgroundPosition = `${-left * scale}px ${-top * scale}px`;
  }
}
