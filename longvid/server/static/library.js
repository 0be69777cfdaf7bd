// The library: the stored videos, which of them is in the player, and which are asked.

import { json, url } from "./api.js";
import { clock, counted } from "./format.js";
import { get, set, subscribe } from "./state.js";

export class Library {
  constructor({ list, row, filter, empty }) {
    Object.assign(this, { list, row, filter, empty });
    filter.addEventListener("input", () => this.draw());
    subscribe("videos", () => this.draw());
    subscribe("current", () => this.#mark());
    subscribe("picked", () => this.#mark());
  }

  async load() {
    const videos = [];
    let cursor = 0;
    while (cursor !== null) {
      const page = await json(`/api/videos?cursor=${cursor}`);
      videos.push(...page.videos);
      cursor = page.next_cursor;
    }
    set({ videos });
  }

  draw() {
    const wanted = this.filter.value.toLocaleLowerCase();
    const videos = get("videos").filter((one) => one.filename.toLocaleLowerCase().includes(wanted));
    this.empty.hidden = get("videos").length > 0;
    this.list.replaceChildren(...videos.map((video) => this.#element(video)));
    this.#mark();
  }

  // Show which video is in the player, and which are asked.
  #mark() {
    const current = get("current")?.video_id;
    const picked = new Set(get("picked"));
    for (const element of this.list.children) {
      element.querySelector(".open").setAttribute("aria-current", element.dataset.id === current);
      element.querySelector(".pick").checked = picked.has(element.dataset.id);
    }
  }

  #element(video) {
    const element = this.row.content.firstElementChild.cloneNode(true);
    const picture = element.querySelector("img");
    picture.onerror = () => picture.removeAttribute("src");
    picture.src = url(`/api/videos/${video.video_id}/thumbnail.jpg?t=${video.duration_seconds / 3}`);
    element.querySelector(".name").textContent = video.filename;
    const gaps = video.gaps.length ? `, ${counted(video.gaps.length, "gap")}` : "";
    const missing = video.source_exists ? "" : ", file missing";
    element.querySelector(".facts").textContent = `${clock(video.duration_seconds)}${gaps}${missing}`;
    element.dataset.id = video.video_id;
    element.querySelector(".open").onclick = () => set({ current: video });
    const pick = element.querySelector(".pick");
    pick.setAttribute("aria-label", `Ask about ${video.filename}`);
    pick.onchange = () => {
      const others = get("picked").filter((id) => id !== video.video_id);
      set({ picked: pick.checked ? [...others, video.video_id] : others });
    };
    return element;
  }

  find(id) {
    return get("videos").find((video) => video.video_id === id) ?? null;
  }
}
