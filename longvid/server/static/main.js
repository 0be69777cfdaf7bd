// The page: wires the pieces together, keeps the address, listens to the server and the keyboard.

import { json, request, whenLocked } from "./api.js";
import { Conversation } from "./conversation.js";
import { span } from "./format.js";
import { Library } from "./library.js";
import { Player } from "./player.js";
import { get, set, subscribe } from "./state.js";
import { Timeline } from "./timeline.js";
import { Transfers } from "./upload.js";

const $ = (id) => document.getElementById(id);
const question = $("question");

const library = new Library({ list: $("videos"), row: $("video-row"), filter: $("filter"), empty: $("empty") });
const player = new Player($("player"), $("stage-note"));
const timeline = new Timeline(
  {
    strip: $("strip"),
    canvas: $("curve"),
    preview: $("preview"),
    note: $("timeline-note"),
    table: $("curve-table"),
    whole: $("zoom-whole"),
  },
  (seconds) => player.seek(seconds),
);
const conversation = new Conversation(
  {
    list: $("answers"),
    answerRow: $("answer-row"),
    evidenceRow: $("evidence-row"),
    stop: $("stop"),
    fresh: $("fresh"),
  },
  showEvidence,
);
const transfers = new Transfers($("transfers"), $("transfer-row"), () => library.load());

let shown = 0; // place of the evidence last shown
let asked = "";

function showEvidence(one, { play = true } = {}) {
  shown = one.marker;
  const video = library.find(one.video_id);
  if (video && get("current")?.video_id !== video.video_id) set({ current: video });
  if (asked && !get("curve")) timeline.relevance(asked);
  player.seek(one.start_seconds, { play });
  const store = $("store").selectedIndex > 0 ? `?store=${encodeURIComponent(get("store"))}` : "";
  const moment = `#t=${one.start_seconds},${one.end_seconds}`;
  history.replaceState(null, "", `/watch/${encodeURIComponent(one.video_id)}${store}${moment}`);
}

function ask(text) {
  asked = text;
  set({ curve: null });
  conversation.ask(text);
  timeline.relevance(text);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text) return;
  question.value = "";
  ask(text);
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});

$("budget").addEventListener("input", () => {
  const budget = 2 ** Number($("budget").value);
  $("budget-shown").textContent = budget;
  set({ budget });
});

function drawScope() {
  const chips = [];
  const chip = (text, remove) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = remove ? `${text} ✕` : text;
    button.disabled = !remove;
    if (remove) button.onclick = remove;
    chips.push(button);
  };
  const range = get("range");
  if (range) chip(`${get("current").filename} ${span(...range)}`, () => set({ range: null }));
  else if (!get("picked").length) chip("All videos");
  else {
    for (const id of get("picked")) {
      const others = get("picked").filter((one) => one !== id);
      chip(library.find(id)?.filename ?? id, () => set({ picked: others }));
    }
  }
  $("scope").replaceChildren(...chips);
}
for (const name of ["picked", "range", "videos"]) subscribe(name, drawScope);

$("choose-file").onclick = () => $("file").click();
$("file").onchange = () => {
  transfers.add($("file").files);
  $("file").value = "";
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  transfers.add(event.dataTransfer.files);
});

for (const tab of document.querySelectorAll("[data-tab]")) {
  if (tab === document.body) continue;
  tab.onclick = () => {
    document.body.dataset.tab = tab.dataset.tab;
    for (const other of document.querySelectorAll(".tabs button")) {
      other.setAttribute("aria-pressed", String(other === tab));
    }
    timeline.draw();
  };
}

const THEME = "longvid-theme";
function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  timeline.draw();
}
setTheme(localStorage.getItem(THEME));
$("theme").onclick = () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, next);
  setTheme(next);
};
$("zoom-in").onclick = () => timeline.zoom(0.5);
$("zoom-out").onclick = () => timeline.zoom(2);
$("help").onclick = () => $("shortcuts").showModal();

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (event.key === "Escape") {
    conversation.cancel();
    event.target.blur?.();
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const evidence = get("selection")?.evidence ?? [];
  const show = (number) => {
    const one = evidence.find((found) => found.marker === number);
    if (one) showEvidence(one);
  };
  const keys = {
    "/": () => question.focus(),
    u: () => $("file").click(),
    "?": () => $("shortcuts").showModal(),
    ArrowLeft: () => player.seek(player.position() - 5),
    ArrowRight: () => player.seek(player.position() + 5),
    ",": () => player.step(-1),
    ".": () => player.step(1),
    "[": () => show(Math.max(1, shown - 1)),
    "]": () => show(Math.min(evidence.length, shown + 1)),
    "+": () => timeline.zoom(0.5),
    "-": () => timeline.zoom(2),
    t: () => player.captions(),
  };
  if (event.key === " " && !event.target.closest("button, video, summary")) keys[" "] = () => player.toggle();
  if (/^[1-9]$/.test(event.key)) keys[event.key] = () => show(Number(event.key));
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

whenLocked(() => {
  if (!$("login").open) $("login").showModal();
});
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await request("/api/session", { method: "POST", body: { key: $("key").value } });
    location.reload();
  } catch (error) {
    $("login-error").textContent = error.message;
  }
});

async function refreshStatus() {
  const status = await json("/api/status");
  const chosen = status.stores.find((one) => one.name === get("store")) ?? status.stores[0];
  $("server-state").textContent = chosen.ready
    ? chosen.note
    : chosen.problem || "The models are being loaded; questions wait for them.";
  set({ limits: status.limits });
  return status;
}

async function start() {
  const status = await refreshStatus();
  const choice = $("store");
  for (const one of status.stores) choice.add(new Option(one.name, one.name));
  choice.closest("label").hidden = status.stores.length < 2;
  const wanted = new URLSearchParams(location.search).get("store");
  choice.value = status.stores.some((one) => one.name === wanted) ? wanted : status.stores[0]?.name;
  set({ store: choice.value });
  choice.onchange = async () => {
    set({ store: choice.value, current: null, picked: [] });
    await library.load();
    conversation.restore();
  };
  await library.load();
  drawScope();
  const id = decodeURIComponent(/^\/watch\/([^/]+)/.exec(location.pathname)?.[1] ?? "");
  const start = Number(/^#t=([\d.]+)/.exec(location.hash)?.[1] ?? 0);
  const current = library.find(id) ?? get("videos")[0] ?? null;
  if (current) {
    set({ current });
    if (start) player.seek(start);
  }
  conversation.restore();
  const news = new EventSource("/api/events");
  news.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    transfers.update(job);
    if (job.kind === "delete" && job.state === "done") library.load();
  });
  while (!status.stores.every((one) => one.ready)) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    Object.assign(status, await refreshStatus());
  }
}

start().catch((error) => {
  $("server-state").textContent = error.message;
});
