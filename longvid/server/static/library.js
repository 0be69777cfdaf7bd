// The library: the stored videos, which of them is in the player, and which are asked.

import { json, url } from "./api.js";
import { clock } from "./format.js";
import { get, set, subscribe } from "./state.js";

export class Library {
  constructor({ list, row, filter, empty }) {
    Object.assign(this, { list, row, filter, empty });
    filter.addEventListener("input", () => this.draw());
    subscribe("videos", () => this.draw());
    subscribe("current", () => this.draw());
    subscribe("picked", () => this.draw());
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
  }

  #element(video) {
    const element = this.row.content.firstElementChild.cloneNode(true);
    const picture = element.querySelector("img");
    picture.onerror = () => picture.removeAttribute("src");
    picture.src = url(`/api/videos/${video.video_id}/thumbnail.jpg?t=${video.duration_seconds / 3}`);
    element.querySelector(".name").textContent = video.filename;
    const gaps = video.gaps.length ? `, ${video.gaps.length} gaps` : "";
    const missing = video.source_exists ? "" : ", file missing";
    element.querySelector(".facts").textContent = `${clock(video.duration_seconds)}${gaps}${missing}`;
    const open = element.querySelector(".open");
    if (get("current")?.video_id === video.video_id) open.setAttribute("aria-current", "true");
    open.onclick = () => set({ current: video });
    const pick = element.querySelector(".pick");
    pick.checked = get("picked").includes(video.video_id);
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
