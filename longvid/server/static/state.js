// One state of the page, and who wants to know when a part of it changes.

const state = {
  store: "",
  limits: null,
  videos: [],
  current: null, // the video in the player
  picked: [], // ids of the videos that are asked; none means all
  range: null, // [start, end] seconds of the current video, or null
  budget: 512,
  selection: null, // evidence and budget of the answer that is shown
  lit: null, // number of the evidence under the pointer
  curve: null, // {times, scores} of the current video
};
const listeners = new Map();

export function get(name) {
  return state[name];
}

export function set(changes) {
  Object.assign(state, changes);
  for (const name of Object.keys(changes)) {
    for (const listener of listeners.get(name) ?? []) listener(state[name]);
  }
}

export function subscribe(name, listener) {
  if (!listeners.has(name)) listeners.set(name, []);
  listeners.get(name).push(listener);
}
