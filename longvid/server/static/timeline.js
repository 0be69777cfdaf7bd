// The timeline under the player: storyboard, relevance curve, evidence, and what the model saw.

import { json, url } from "./api.js";
import { clock, span } from "./format.js";
import { get, set, subscribe } from "./state.js";

const STRIP_PICTURES = 12;
const ROW = { curve: 70, seen: 30, ruler: 20 };

export class Timeline {
  constructor({ strip, canvas, note, table }, seek) {
    Object.assign(this, { strip, canvas, note, table, seek });
    this.dragged = null;
    subscribe("current", () => this.#open());
    for (const name of ["curve", "selection", "range", "position"]) {
      subscribe(name, () => this.draw());
    }
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #length() {
    return get("current")?.duration_seconds || 0;
  }

  async #open() {
    const current = get("current");
    this.strip.replaceChildren();
    set({ curve: null, range: null });
    this.canvas.setAttribute("aria-valuemax", Math.round(this.#length()));
    if (!current) return;
    const { times } = await json(`/api/videos/${current.video_id}/pictures`).catch(() => ({ times: [] }));
    if (get("current") !== current || !times.length) return;
    const count = Math.min(STRIP_PICTURES, times.length);
    for (let place = 0; place < count; place += 1) {
      const seconds = times[Math.floor((place * times.length) / count)];
      const picture = document.createElement("img");
      picture.alt = "";
      picture.loading = "lazy";
      picture.src = url(`/api/videos/${current.video_id}/thumbnail.jpg?t=${seconds}`);
      this.strip.append(picture);
    }
  }

  // Ask the server how well each segment fits a question.
  async relevance(question) {
    const current = get("current");
    if (!current) return;
    const query = `question=${encodeURIComponent(question)}`;
    const curve = await json(`/api/videos/${current.video_id}/relevance?${query}`).catch(() => null);
    if (get("current") === current) set({ curve });
    this.#fillTable(curve);
  }

  #fillTable(curve) {
    const rows = (curve?.times ?? []).map((seconds, place) => [clock(seconds), curve.scores[place].toFixed(3)]);
    this.table.replaceChildren(
      ...[["time", "score"], ...rows].map((cells, number) => {
        const row = document.createElement("tr");
        for (const cell of cells) {
          const element = document.createElement(number ? "td" : "th");
          element.textContent = cell;
          row.append(element);
        }
        return row;
      }),
    );
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = canvas.clientHeight * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const length = this.#length();
    canvas.setAttribute("aria-valuenow", Math.round(get("position") ?? 0));
    canvas.setAttribute("aria-valuetext", clock(get("position") ?? 0));
    if (!length || !width) return;
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    const x = (seconds) => (seconds / length) * width;
    this.#drawEvidence(context, x, color);
    this.#drawCurve(context, x, color);
    this.#drawSeen(context, x, color);
    this.#drawRuler(context, x, color, width, length);
    const range = this.dragged ?? get("range");
    if (range) {
      context.globalAlpha = 0.25;
      context.fillStyle = color("--accent");
      context.fillRect(x(range[0]), 0, x(range[1]) - x(range[0]), ROW.curve + ROW.seen);
      context.globalAlpha = 1;
    }
    context.fillStyle = color("--ink");
    context.fillRect(x(get("position") ?? 0) - 1, 0, 2, ROW.curve + ROW.seen);
    this.#say(range);
  }

  #mine() {
    const id = get("current")?.video_id;
    const selection = get("selection");
    return {
      evidence: (selection?.evidence ?? []).filter((one) => one.video_id === id),
      frames: (selection?.budget?.frames ?? []).filter((one) => one.video_id === id),
    };
  }

  #drawEvidence(context, x, color) {
    context.font = "12px system-ui, sans-serif";
    for (const one of this.#mine().evidence) {
      context.globalAlpha = 0.3;
      context.fillStyle = color("--slow");
      context.fillRect(x(one.start_seconds), 0, Math.max(2, x(one.end_seconds) - x(one.start_seconds)), ROW.curve);
      context.globalAlpha = 1;
      context.fillStyle = color("--ink");
      context.fillText(`[${one.marker}]`, x(one.start_seconds) + 2, 12);
    }
  }

  #drawCurve(context, x, color) {
    const curve = get("curve");
    if (!curve?.times.length) return;
    const least = Math.min(...curve.scores);
    const most = Math.max(...curve.scores);
    const y = (score) => ROW.curve - 4 - ((score - least) / (most - least || 1)) * (ROW.curve - 20);
    context.strokeStyle = color("--accent");
    context.lineWidth = 2;
    context.beginPath();
    curve.times.forEach((seconds, place) => {
      if (place) context.lineTo(x(seconds), y(curve.scores[place]));
      else context.moveTo(x(seconds), y(curve.scores[place]));
    });
    context.stroke();
  }

  // Frames that the model saw: the more tokens, the taller.
  #drawSeen(context, x, color) {
    const { frames } = this.#mine();
    const most = Math.max(1, ...frames.map((frame) => frame.num_tokens));
    for (const frame of frames) {
      const height = 4 + (ROW.seen - 8) * (frame.num_tokens / most);
      context.fillStyle = color(frame.num_tokens === most ? "--slow" : "--fast");
      context.fillRect(x(frame.seconds) - 1, ROW.curve + ROW.seen - height, 3, height);
    }
  }

  #drawRuler(context, x, color, width, length) {
    context.fillStyle = color("--quiet");
    context.font = "11px system-ui, sans-serif";
    const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400];
    const step = steps.find((one) => (one / length) * width > 60) ?? 36000;
    for (let seconds = 0; seconds < length; seconds += step) {
      context.fillText(clock(seconds), x(seconds) + 2, ROW.curve + ROW.seen + 14);
    }
  }

  #say(range) {
    const seen = this.#mine().frames.length;
    const parts = [];
    if (seen) parts.push(`The model saw ${seen} frames of this video.`);
    if (range) parts.push(`Asking about ${span(...range)}.`);
    this.note.textContent = parts.join(" ");
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return share * this.#length();
  }

  #press(event) {
    if (!this.#length()) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = this.#at(event);
  }

  #move(event) {
    if (this.pressed === undefined) return;
    const here = this.#at(event);
    if (Math.abs(here - this.pressed) > this.#length() / 100) {
      this.dragged = [Math.min(here, this.pressed), Math.max(here, this.pressed)];
      this.draw();
    }
  }

  #release() {
    if (this.pressed === undefined) return;
    if (this.dragged) set({ range: this.dragged });
    else this.seek(this.pressed);
    this.dragged = null;
    this.pressed = undefined;
  }

  #key(event) {
    const steps = { ArrowLeft: -5, ArrowRight: 5, PageDown: -60, PageUp: 60 };
    if (event.key in steps) {
      event.preventDefault();
      event.stopPropagation();
      this.seek(Math.min(this.#length(), Math.max(0, (get("position") ?? 0) + steps[event.key])));
    }
  }
}
