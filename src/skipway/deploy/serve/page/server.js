// What the pages share: the server, its key, and words.

export const $ = (id) => document.getElementById(id);
export const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
export const milliseconds = (seconds) => (seconds < 1 ? `${Math.max(1, Math.round(1000 * seconds))} ms` : `${seconds.toFixed(1)} s`);
export const say = (text) => { $("status").textContent = text; };

const PATIENCE = 8; // times that a busy server is asked again
const later = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

export class Refusal extends Error {
  constructor(status, sentence, seconds) {
    super(sentence);
    this.status = status;
    this.seconds = seconds;
  }
}

export function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function key() {
  const kept = sessionStorage.getItem("key");
  return kept ? { "X-API-Key": kept } : {};
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...key(), ...options.headers } });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refusal(0, "The server cannot be reached.");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) askForKey();
  const said = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, sentence(said.detail ?? `The server answered ${answer.status}.`), Number(answer.headers.get("Retry-After")) || 1);
}

// A busy server is asked again.
export async function askPatiently(path, options) {
  for (let turn = 0; ; turn += 1) {
    try {
      return await ask(path, options);
    } catch (refusal) {
      if (refusal.status !== 429 || turn >= PATIENCE) throw refusal;
      say("The server is busy. Asking again in a moment.");
      await later(refusal.seconds);
      options.signal?.throwIfAborted();
    }
  }
}

// A file's name at the beginning keeps its letters.
export const sentence = (text) => text.replace(/^[a-z]+(?=[ ,:])/, (word) => word.charAt(0).toUpperCase() + word.slice(1)) + (/[.!?]$/.test(text) ? "" : ".");

// ---- The key, and the network's card --------------------------------------------------------------------------------

const keyed = () => document.querySelectorAll(".keyed"); // what is shown to those who have the key

function askForKey() {
  const wrong = sessionStorage.getItem("key") !== null;
  sessionStorage.removeItem("key");
  $("key-fault").textContent = wrong ? "That key was not accepted." : "";
  $("key-form").hidden = false;
  keyed().forEach((element) => { element.hidden = true; });
  $("network").textContent = "skipway";
  $("summary").textContent = "A trained network.";
}

// Hands the network's card to `begin` as soon as the server gives it, and again after a key was given.
export function introduce(begin) {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("key", $("key").value.trim());
    $("key").value = "";
    readCard(begin);
  });
  readCard(begin);
}

async function readCard(begin) {
  let model;
  try {
    model = await (await ask("v1/model")).json();
  } catch (refusal) {
    if (refusal.status !== 401) {
      $("summary").textContent = `${refusal.message} Trying again.`;
      setTimeout(readCard, 3000, begin);
    }
    return;
  }
  $("key-form").hidden = true;
  keyed().forEach((element) => { element.hidden = false; });
  document.title = `${model.network} · skipway`;
  $("network").textContent = model.network;
  begin(model);
}
