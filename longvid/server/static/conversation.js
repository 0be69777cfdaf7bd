// Questions and answers: evidence first, then text as it grows, and what the model saw.

import { render } from "./answer_text.js";
import { events } from "./api.js";
import { boxesWithin, drawBoxes } from "./boxes.js";
import { counted, milliseconds, span } from "./format.js";
import { get, set } from "./state.js";

const MOST_TURNS = 8; // sent with a follow-up
const MOST_KEPT = 30; // shown again after a reload
const KEPT = "longvid-conversation-"; // and the name of the store

export class Conversation {
  constructor({ list, answerRow, evidenceRow, stop, fresh }, showEvidence) {
    Object.assign(this, { list, answerRow, evidenceRow, stop, fresh, showEvidence });
    this.turns = []; // {question, evidence, budget, answer}, oldest first
    this.abort = null;
    stop.onclick = () => this.cancel();
    fresh.onclick = () => {
      this.cancel();
      this.#keep([]);
      this.restore();
    };
  }

  // Show what was asked of this store before the page was loaded again.
  restore() {
    let kept = [];
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT + get("store"))) ?? [];
    } catch {
      // What another version has kept is not shown.
    }
    this.list.replaceChildren();
    set({ selection: null });
    this.turns = kept;
    this.fresh.hidden = !kept.length;
    for (const turn of kept) {
      const element = this.#element(turn.question);
      this.#evidence(element, turn, { jump: false });
      this.#done(element, turn.question, turn.answer);
    }
  }

  #keep(turns) {
    this.turns = turns.slice(-MOST_KEPT);
    this.fresh.hidden = !this.turns.length;
    try {
      sessionStorage.setItem(KEPT + get("store"), JSON.stringify(this.turns));
    } catch {
      // A full storage keeps the page from nothing but this.
    }
  }

  #element(question) {
    const element = this.answerRow.content.firstElementChild.cloneNode(true);
    element.querySelector(".asked").textContent = question;
    element.querySelector(".again").onclick = () => this.ask(question);
    this.list.append(element);
    return element;
  }

  cancel() {
    this.abort?.abort();
  }

  async ask(question) {
    this.cancel();
    const body = {
      question,
      stream: true,
      budget: get("budget"),
      store: get("store"),
      videos: get("picked"),
      history: this.turns.slice(-MOST_TURNS).map((turn) => [turn.question, turn.answer.text]),
    };
    const range = get("range");
    if (range && get("current")) {
      body.videos = [get("current").video_id];
      body.time_range = range;
    }
    const element = this.#element(question);
    element.scrollIntoView({ block: "nearest" });
    const controller = new AbortController();
    this.abort = controller;
    this.stop.hidden = false;
    const text = element.querySelector(".text");
    text.textContent = "…";
    let shown = { evidence: [], budget: {} };
    try {
      for await (const { event, data } of events("/api/ask", body, controller.signal)) {
        if (event === "evidence") {
          shown = data;
          this.#evidence(element, data);
        }
        if (event === "text") text.replaceChildren(...this.#nodes(element, data.text));
        if (event === "done") {
          this.#done(element, question, data.answer);
          this.#keep([...this.turns, { question, ...shown, answer: data.answer }]);
        }
        if (event === "error") this.#fail(element, data.error.message);
      }
    } catch (error) {
      const stopped = error.name === "AbortError";
      this.#fail(element, stopped ? "Stopped." : error.message);
    } finally {
      if (this.abort === controller) {
        this.abort = null;
        this.stop.hidden = true;
      }
    }
  }

  #nodes(element, text) {
    return render(text, (number) => {
      const found = element.evidence?.find((one) => one.marker === number);
      if (found) this.showEvidence(found);
    });
  }

  #evidence(element, { evidence, budget }, { jump = true } = {}) {
    element.evidence = evidence;
    set({ selection: { evidence, budget } });
    const cards = evidence.map((one) => {
      const card = this.evidenceRow.content.firstElementChild.cloneNode(true);
      const picture = card.querySelector("img");
      picture.onerror = () => picture.remove();
      picture.src = one.thumbnail_url;
      card.querySelector(".marker").textContent = `[${one.marker}]`;
      card.querySelector(".span").textContent = span(one.start_seconds, one.end_seconds);
      card.querySelector(".name").textContent = one.text || one.filename;
      card.querySelector("meter").value = Math.max(0, Math.min(1, one.score));
      const button = card.querySelector("button");
      button.setAttribute("aria-label", `Evidence ${one.marker}: ${one.filename}, ${span(one.start_seconds, one.end_seconds)}`);
      button.onclick = () => {
        set({ selection: { evidence, budget } });
        this.showEvidence(one);
      };
      button.onpointerenter = () => set({ lit: one.marker });
      button.onpointerleave = () => set({ lit: null });
      return card;
    });
    element.querySelector(".evidence").replaceChildren(...cards);
    this.#explain(element, budget);
    if (jump && evidence.length) this.showEvidence(evidence[0], { play: false });
  }

  #explain(element, budget) {
    const tiers = budget.tiers ?? [];
    const words = tiers.map((tier) => `${counted(tier.num_frames, "frame")} of ${tier.tokens_per_frame}`);
    const summary = `${budget.visual_tokens} of ${budget.budget} visual tokens: ${words.join(", ") || "no frames"}`;
    element.querySelector(".seen summary").textContent = summary;
    const bars = tiers.map((tier, place) => {
      const row = document.createElement("div");
      row.className = "tier";
      const label = document.createElement("span");
      label.textContent = `${tier.num_frames} × ${tier.tokens_per_frame} = ${tier.num_tokens}`;
      const bar = document.createElement("div");
      bar.className = `bar ${place ? "fast" : "slow"}`;
      bar.style.width = `${(100 * tier.num_tokens) / Math.max(1, budget.visual_tokens)}%`;
      row.append(label, bar);
      return row;
    });
    element.querySelector(".tiers").replaceChildren(...bars);
  }

  #done(element, question, answer) {
    const text = element.querySelector(".text");
    text.replaceChildren(...this.#nodes(element, answer.text || "No answer."));
    element.querySelector(".note").textContent = answer.note;
    if (!answer.visual_tokens) this.#quoted(element, answer);
    this.#boxes(element, answer.tracks ?? []);
    const steps = Object.entries(answer.seconds)
      .filter(([, seconds]) => seconds >= 0.0005)
      .map(([step, seconds]) => {
        const item = document.createElement("li");
        item.textContent = `${step.replace("_", " ")} ${milliseconds(seconds)}`;
        return item;
      });
    element.querySelector(".steps").replaceChildren(...steps);
    element.querySelector(".copy").onclick = () =>
      navigator.clipboard.writeText(JSON.stringify({ question, ...answer }, null, 1));
  }

  #boxes(element, tracks) {
    for (const [place, card] of element.querySelectorAll(".card").entries()) {
      const found = boxesWithin(tracks, element.evidence[place]);
      const picture = card.querySelector("img");
      if (found && picture) drawBoxes(picture, found);
    }
  }

  // The answer rests on lines alone: the model was shown no frame.
  #quoted(element, answer) {
    const evidence = answer.evidence;
    const budget = { budget: get("budget"), visual_tokens: 0, tiers: [], frames: [] };
    this.#evidence(element, { evidence, budget }, { jump: false });
  }

  #fail(element, sentence) {
    element.classList.add("failed");
    element.querySelector(".evidence").replaceChildren();
    element.querySelector(".seen").hidden = true;
    set({ selection: null });
    element.querySelector(".text").textContent = sentence;
  }
}
