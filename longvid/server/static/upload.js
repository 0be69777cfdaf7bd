// Uploads in parts: pause and resume, also after the page was closed, and the jobs that follow.

import { ApiError, json, request } from "./api.js";
import { get } from "./state.js";
import { bytes, clock } from "./format.js";

const PART_BYTES = 8 * 1024 * 1024;
const RETRY_MILLISECONDS = 2000;
const KEPT = "longvid-uploads"; // file name, size and date -> upload id

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

function keep(name, id) {
  const all = kept();
  if (id) all[name] = id;
  else delete all[name];
  localStorage.setItem(KEPT, JSON.stringify(all));
}

function arrivedOf(upload) {
  return {
    parts: upload.parts.map((part) => part.id),
    sent: upload.parts.reduce((sum, part) => sum + part.num_bytes, 0),
  };
}

export class Transfers {
  constructor(list, row, onIndexed) {
    this.list = list;
    this.row = row;
    this.onIndexed = onIndexed;
    this.jobs = new Map(); // job id -> row element
    this.latest = new Map(); // job id -> what the server said of it last
  }

  add(files) {
    for (const file of files) this.#send(file);
  }

  #element(name) {
    const element = this.row.content.firstElementChild.cloneNode(true);
    element.querySelector(".name").textContent = name;
    this.list.append(element);
    return element;
  }

  #show(element, share, text, failed = false) {
    element.querySelector("progress").value = share;
    element.querySelector(".state").textContent = text;
    element.classList.toggle("failed", failed);
  }

  async #send(file) {
    const element = this.#element(file.name);
    const pause = element.querySelector(".pause");
    const identity = `${file.name}/${file.size}/${file.lastModified}`;
    let paused = false;
    let cancelled = false;
    let wake = () => {};
    pause.onclick = () => {
      paused = !paused;
      pause.textContent = paused ? "Resume" : "Pause";
      wake();
    };
    element.querySelector(".cancel").onclick = () => {
      cancelled = true;
      wake();
    };
    try {
      const limit = get("limits")?.file_bytes;
      if (limit && file.size > limit) throw new Error(`The file is larger than ${bytes(limit)}.`);
      const upload = await this.#begin(file, identity);
      let { parts, sent } = arrivedOf(upload);
      while (sent < file.size) {
        if (cancelled) {
          keep(identity, null);
          await request(`/v1/uploads/${upload.id}/cancel`, { method: "POST" });
          element.remove();
          return;
        }
        if (paused) {
          this.#show(element, sent / file.size, `paused at ${bytes(sent)} of ${bytes(file.size)}`);
          await new Promise((resolve) => (wake = resolve));
          continue;
        }
        this.#show(element, sent / file.size, `${bytes(sent)} of ${bytes(file.size)}`);
        const form = new FormData();
        form.append("data", file.slice(sent, sent + PART_BYTES), "part");
        try {
          await request(`/v1/uploads/${upload.id}/parts`, { method: "POST", form });
        } catch (error) {
          if (error instanceof ApiError && error.status < 500) throw error;
          this.#show(element, sent / file.size, `no connection at ${bytes(sent)}, trying again`);
          await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
        }
        // What counts is what the server has: a part may have arrived and its answer been lost.
        ({ parts, sent } = await this.#arrived(upload.id, { parts, sent }));
      }
      const path = `/v1/uploads/${upload.id}/complete`;
      const answer = await request(path, { method: "POST", body: { part_ids: parts } });
      const done = await answer.json();
      keep(identity, null);
      pause.hidden = true;
      const body = { file_id: done.file.id, store: get("store") };
      const job = await (await request("/api/videos", { method: "POST", body })).json();
      // News of the job may have come before this answer, and may have made a row of its own.
      this.jobs.get(job.id)?.remove();
      this.jobs.set(job.id, element);
      this.update(this.latest.get(job.id) ?? job);
    } catch (error) {
      this.#show(element, 0, error.message, true);
      pause.hidden = true;
      element.querySelector(".cancel").onclick = () => element.remove();
    }
  }

  async #arrived(id, before) {
    try {
      return arrivedOf(await (await request(`/v1/uploads/${id}`)).json());
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) throw error;
      return before; // no connection: the next part tries again
    }
  }

  async #begin(file, identity) {
    const known = kept()[identity];
    if (known) {
      try {
        const upload = await (await request(`/v1/uploads/${known}`)).json();
        if (upload.status === "pending") return upload;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
      }
      keep(identity, null);
    }
    const body = {
      filename: file.name,
      bytes: file.size,
      mime_type: file.type || "application/octet-stream",
      purpose: "user_data",
    };
    const upload = await (await request("/v1/uploads", { method: "POST", body })).json();
    keep(identity, upload.id);
    return upload;
  }

  // Show what the server says of a job.
  update(job) {
    this.latest.set(job.id, job);
    let element = this.jobs.get(job.id);
    if (!element) {
      if (["done", "cancelled"].includes(job.state)) return;
      element = this.#element(job.label);
      element.querySelector(".pause").hidden = true;
      this.jobs.set(job.id, element);
    }
    const cancel = element.querySelector(".cancel");
    const pause = element.querySelector(".pause");
    const share = job.total_seconds ? job.done_seconds / job.total_seconds : 0;
    if (job.state === "queued") this.#show(element, 0, "waiting to be indexed");
    if (job.state === "running") {
      const text = job.total_seconds
        ? `indexing ${clock(job.done_seconds)} of ${clock(job.total_seconds)}`
        : "indexing";
      this.#show(element, share, text);
    }
    if (job.state === "failed") {
      this.#show(element, 0, job.error, true);
      pause.hidden = false;
      pause.textContent = "Retry";
      pause.onclick = () => json(`/api/jobs/${job.id}/retry`, { method: "POST" });
      cancel.onclick = () => element.remove();
      return;
    }
    pause.hidden = true;
    cancel.onclick = () => json(`/api/jobs/${job.id}`, { method: "DELETE" });
    if (job.state === "done" || job.state === "cancelled") {
      element.remove();
      this.jobs.delete(job.id);
      if (job.state === "done") this.onIndexed(job);
    }
  }
}
