// The player: the video as it is, repackaged, or a clip around what is asked for.

import { json, url } from "./api.js";
import { get, set, subscribe } from "./state.js";

const CLIPS_ONLY = "This browser cannot play the file; clips around the evidence are shown.";
const CLIP_MARGIN = 10; // seconds around a moment, where only clips can be played

export class Player {
  constructor(video, note) {
    this.video = video;
    this.note = note;
    this.mode = "missing";
    this.offset = 0; // stream time at the clip's start
    this.span = null;
    video.addEventListener("timeupdate", () => set({ position: this.position() }));
    video.addEventListener("error", () => this.#refused());
    this.opening = Promise.resolve();
    subscribe("current", (current) => (this.opening = this.#open(current)));
  }

  position() {
    return this.video.currentTime + this.offset;
  }

  async #open(current) {
    this.video.removeAttribute("src");
    this.video.removeAttribute("poster");
    this.video.replaceChildren();
    this.video.load(); // nothing of the video before stays
    this.note.textContent = "";
    this.offset = 0;
    this.span = null;
    this.mode = "missing";
    if (!current) return;
    let found;
    try {
      found = await json(`/api/videos/${current.video_id}/playback`);
    } catch (error) {
      this.note.textContent = error.message;
      return;
    }
    if (get("current") !== current) return;
    this.mode = found.mode;
    this.video.poster = url(`/api/videos/${current.video_id}/thumbnail.jpg?t=0`);
    if (found.url) this.video.src = url(found.url);
    if (found.mode === "proxy") {
      this.note.textContent = CLIPS_ONLY;
      this.#clip(current, 0);
    }
    if (found.mode === "missing") this.note.textContent = "The video file is no longer at its place.";
    const track = document.createElement("track");
    track.kind = "captions";
    track.label = "Captions";
    track.src = url(`/api/videos/${current.video_id}/captions.vtt`);
    this.video.append(track);
  }

  // What a browser was expected to play and does not is shown in clips that it can.
  #refused() {
    if (!this.video.getAttribute("src") || !["direct", "remux"].includes(this.mode)) return;
    this.mode = "proxy";
    this.note.textContent = CLIPS_ONLY;
    this.seek(get("position") ?? 0);
  }

  // Go to a time of the stream, and play from there.
  async seek(seconds, { play = false } = {}) {
    const current = get("current");
    await this.opening;
    if (!current || current !== get("current") || this.mode === "missing") return;
    if (this.mode === "proxy") this.#clip(current, seconds);
    if (this.video.readyState < 1) {
      await new Promise((resolve) => {
        this.video.addEventListener("loadedmetadata", resolve, { once: true });
        this.video.addEventListener("error", resolve, { once: true });
        this.video.load();
      });
    }
    this.video.currentTime = Math.max(0, seconds - this.offset);
    set({ position: seconds });
    if (play) this.video.play().catch(() => {});
  }

  // Load the clip around a time, unless it is there.
  #clip(current, seconds) {
    if (this.span && seconds >= this.span[0] && seconds < this.span[1]) return;
    const start = Math.max(0, seconds - CLIP_MARGIN);
    const end = Math.min(current.duration_seconds + 1, seconds + 2 * CLIP_MARGIN);
    this.span = [start, end];
    this.offset = start;
    const query = `start=${start.toFixed(3)}&end=${end.toFixed(3)}`;
    this.video.src = url(`/api/videos/${current.video_id}/clip.mp4?${query}`);
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  step(frames) {
    const current = get("current");
    this.video.pause();
    this.seek(this.position() + frames / (current?.average_fps || 25));
  }

  captions() {
    for (const track of this.video.textTracks) {
      track.mode = track.mode === "showing" ? "hidden" : "showing";
    }
  }
}
