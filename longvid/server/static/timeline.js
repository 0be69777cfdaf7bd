// The timeline under the player: storyboard, relevance curve, evidence, and what the model saw.

import { json } from "./api.js";
import { clock, counted, span } from "./format.js";
import { get, set, subscribe } from "./state.js";
import { Storyboard } from "./storyboard.js";
import { drawCurve, drawEvidence, drawPosition, drawRange, drawRuler, drawSeen } from "./timeline_drawing.js";

const STRIP_HEIGHT = 54;
const PREVIEW_HEIGHT = 90;
const LEAST_VIEW = 2; // seconds

export class Timeline {
  constructor(parts, seek) {
    Object.assign(this, parts, { seek }); // strip, canvas, preview, note, table, whole
    this.view = [0, 0]; // seconds that are shown
    this.board = null;
    this.dragged = null;
    subscribe("current", () => this.#open());
    for (const name of ["curve", "selection", "range", "position", "lit"]) {
      subscribe(name, () => this.draw());
    }
    const { canvas } = this;
    new ResizeObserver(() => {
      this.#fillStrip();
      this.draw();
    }).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#release());
    canvas.addEventListener("pointerleave", () => (this.preview.hidden = true));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.whole.onclick = () => this.#look(0, this.#length());
  }

  #length() {
    return get("current")?.duration_seconds || 0;
  }

  async #open() {
    const current = get("current");
    this.board = null;
    this.preview.hidden = true;
    set({ curve: null, range: null, lit: null });
    this.canvas.setAttribute("aria-valuemax", Math.round(this.#length()));
    this.#look(0, this.#length());
    if (!current) return;
    const board = await Storyboard.load(current.video_id).catch(() => null);
    if (get("current") !== current) return;
    this.board = board?.cues.length ? board : null;
    this.#fillStrip();
  }

  // Show these seconds, as far as the video has them.
  #look(from, to) {
    const length = this.#length();
    const width = Math.min(length, Math.max(LEAST_VIEW, to - from));
    const start = Math.min(Math.max(0, from), length - width);
    this.view = [start, start + width];
    this.whole.hidden = width >= length;
    this.#fillStrip();
    this.draw();
  }

  zoom(factor, around = get("position") ?? 0) {
    const [from, to] = this.view;
    this.#look(around - (around - from) * factor, around + (to - around) * factor);
  }

  #fillStrip() {
    const width = this.strip.clientWidth;
    if (!this.board || !width) {
      this.strip.replaceChildren();
      return;
    }
    const [from, to] = this.view;
    const tile = (STRIP_HEIGHT * 16) / 9;
    const count = Math.ceil(width / tile);
    const tiles = Array.from({ length: count }, (_, place) => {
      const element = document.createElement("div");
      this.board.show(element, from + ((place + 0.5) * tile * (to - from)) / width, STRIP_HEIGHT);
      return element;
    });
    this.strip.replaceChildren(...tiles);
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
    const position = get("position") ?? 0;
    canvas.setAttribute("aria-valuenow", Math.round(position));
    canvas.setAttribute("aria-valuetext", clock(position));
    canvas.width = width * scale;
    canvas.height = canvas.clientHeight * scale;
    if (!this.#length() || !width) return;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    const [from, to] = this.view;
    const x = (seconds) => ((seconds - from) / (to - from)) * width;
    const { evidence, frames } = this.#mine();
    const range = this.dragged ?? get("range");
    drawEvidence(context, x, color, evidence, get("lit"));
    drawCurve(context, x, color, get("curve"), this.#length());
    drawSeen(context, x, color, frames);
    drawRuler(context, x, color, width, this.view);
    drawRange(context, x, color, range);
    drawPosition(context, x, color, position);
    this.#say(frames.length, range);
  }

  #mine() {
    const id = get("current")?.video_id;
    const selection = get("selection");
    return {
      evidence: (selection?.evidence ?? []).filter((one) => one.video_id === id),
      frames: (selection?.budget?.frames ?? []).filter((one) => one.video_id === id),
    };
  }

  #say(seen, range) {
    const parts = [];
    if (seen) parts.push(`The model saw ${counted(seen, "frame")} of this video.`);
    if (range) parts.push(`Asking about ${span(...range)}.`);
    this.note.textContent = parts.join(" ");
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return this.view[0] + share * (this.view[1] - this.view[0]);
  }

  #press(event) {
    if (!this.#length()) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = this.#at(event);
  }

  #move(event) {
    const here = this.#at(event);
    if (event.pointerType === "mouse") this.#peek(event, here);
    if (this.pressed === undefined) return;
    if (Math.abs(here - this.pressed) > (this.view[1] - this.view[0]) / 100) {
      this.dragged = [Math.min(here, this.pressed), Math.max(here, this.pressed)];
      this.draw();
    }
  }

  // Show the picture of the moment under the pointer.
  #peek(event, seconds) {
    this.preview.hidden = !this.board;
    if (!this.board) return;
    this.board.show(this.preview, seconds, PREVIEW_HEIGHT);
    this.preview.textContent = clock(seconds);
    const box = this.canvas.getBoundingClientRect();
    const half = this.preview.offsetWidth / 2;
    const left = Math.min(box.width - 2 * half, Math.max(0, event.clientX - box.left - half));
    this.preview.style.left = `${left}px`;
  }

  #release() {
    if (this.pressed === undefined) return;
    if (this.dragged) set({ range: this.dragged });
    else this.seek(this.pressed);
    this.dragged = null;
    this.pressed = undefined;
  }

  #wheel(event) {
    if (!this.#length() || !event.deltaY) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.#at(event));
  }

  #key(event) {
    const steps = { ArrowLeft: -5, ArrowRight: 5, PageDown: -60, PageUp: 60 };
    const ends = { Home: 0, End: this.#length() };
    const now = get("position") ?? 0;
    if (event.key in steps || event.key in ends) {
      event.preventDefault();
      event.stopPropagation();
      const wanted = ends[event.key] ?? now + steps[event.key];
      this.seek(Math.min(this.#length(), Math.max(0, wanted)));
    }
  }
}
