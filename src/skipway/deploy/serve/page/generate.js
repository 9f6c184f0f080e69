// Images that this server generates; they stay in this tab's memory.

import { showCard, sizeOf } from "./card.js";
import { $, Refusal, askPatiently, count, introduce, make, milliseconds, say, sentence } from "./server.js";

const USUAL = 16; // images
const CHIPS = 40; // classes, beyond which they are in a list
const SMALL = 96; // pixels, up to which they are shown as squares
const SEEDS = 1e6; // that the dice has

let model = null;
let shown = []; // images in their order, each with its place on the page
let large = null; // the one in the viewer
let work = null; // what ends the request under way

// ---- What can be asked for ------------------------------------------------------------------------------------------

function begin(card) {
  model = card;
  const { classes, limits } = model;
  $("summary").textContent = classes.length ? `Generates images of ${count(classes.length, "class", "classes")}.` : "Generates images.";
  showCard(model, [[["Generates", sizeOf(model)]], []]);
  $("kinds").hidden = $("guided").hidden = $("all-classes").hidden = !classes.length;
  $("n").max = limits.images;
  $("n").value = Math.min(limits.images, (classes.length || 1) * Math.max(1, Math.round(USUAL / (classes.length || 1))));
  $("steps").max = Math.min($("steps").max, limits.steps);
  $("pictures").style.setProperty("--shape", `${model.size} / ${model.height}`);
  document.body.classList.toggle("small-images", Math.max(model.size, model.height) <= SMALL);
  offerClasses(classes);
}

function offerClasses(classes) {
  const many = classes.length > CHIPS;
  $("kind").hidden = !many;
  $("chips").hidden = many;
  const options = [["", "Any"], ...classes.map((name) => [name, name])];
  $("kind").replaceChildren(...(many ? options.map(([value, text]) => new Option(text, value)) : []));
  $("chips").replaceChildren(...(many ? [] : options.map(chip)));
}

function chip([value, text], place) {
  const label = make("label", "");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "class", value, checked: place === 0 });
  label.className = "chip";
  label.append(input, make("span", text));
  return label;
}

// The class that is chosen; empty for any.
const kind = () => ($("kind").hidden ? document.querySelector("input[name=class]:checked")?.value ?? "" : $("kind").value);

function choose(name) {
  $("kind").value = name;
  document.querySelectorAll("input[name=class]").forEach((input) => { input.checked = input.value === name; });
}

function showValues() {
  $("guidance-value").textContent = Number($("guidance").value).toFixed(1);
  $("steps-value").textContent = $("steps").value;
}

// ---- Asking ---------------------------------------------------------------------------------------------------------

async function generate() {
  work?.abort();
  const own = work = new AbortController();
  const asked = { n: Number($("n").value), seed: Number($("seed").value), first: Number($("first").value), steps: Number($("steps").value) };
  if (model.classes.length) asked.guidance = Number($("guidance").value);
  if (kind()) asked.class = kind();
  makeRoom(asked);
  say(`Generating ${count(asked.n, "image", "images")}.`);
  try {
    await receive(asked, own);
  } catch (refusal) {
    if (own.signal.aborted) say("Stopped.");
    else $("fault").textContent = refusal instanceof Refusal ? refusal.message : "The connection was lost. Generate again.";
  }
  if (own === work) finish();
}

async function receive(asked, own) {
  const answer = await askPatiently("v1/generate", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/x-ndjson" },
    body: JSON.stringify(asked),
    signal: own.signal,
  });
  for await (const event of linesOf(answer)) {
    if (own !== work) return;
    if (event.event === "progress") $("progress").value = event.done / event.of;
    if (event.event === "image") place(event, asked.first);
    if (event.event === "failed") throw new Refusal(0, sentence(event.detail));
    if (event.event === "done") {
      $("settings").textContent += ` · ${milliseconds(event.seconds)}`;
      say(`${count(event.images, "image is", "images are")} ready.`);
      return;
    }
  }
  throw new TypeError("the answer ended before it was whole");
}

// Each line of an answer, as it comes.
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

// Empty places for the images that are asked for.
function makeRoom(asked) {
  shown.forEach((image) => URL.revokeObjectURL(image.url));
  $("fault").textContent = "";
  $("results").hidden = false;
  $("progress").value = 0;
  $("progress").classList.add("running");
  $("stop").hidden = false;
  $("settings").textContent = [
    asked.class ?? (model.classes.length ? "any class" : ""),
    `seed ${asked.seed}`,
    asked.guidance === undefined ? "" : `guidance ${asked.guidance}`,
    count(asked.steps, "step", "steps"),
  ].filter(Boolean).join(" · ");
  shown = Array.from({ length: asked.n }, () => ({ row: $("picture-item").content.cloneNode(true).firstElementChild }));
  $("pictures").replaceChildren(...shown.map(({ row }) => row));
}

// Shows no more places than there are images.
function finish() {
  work = null;
  if (document.activeElement === $("stop")) $("generate").focus();
  $("stop").hidden = true;
  $("progress").classList.remove("running");
  shown.filter(({ url }) => !url).forEach(({ row }) => row.remove());
  shown = shown.filter(({ url }) => url);
  $("results").hidden = !shown.length;
}

// ---- Images ---------------------------------------------------------------------------------------------------------

function place(found, first) {
  const image = shown[found.index - first];
  const file = new Blob([Uint8Array.from(atob(found.png), (letter) => letter.charCodeAt(0))], { type: "image/png" });
  Object.assign(image, found, { url: URL.createObjectURL(file), name: `${found.class ?? "none"}-${found.seed}-${found.index}.png` });
  const { row } = image;
  const picture = row.querySelector("img");
  row.className = "ready";
  picture.src = image.url;
  picture.alt = describe(image);
  picture.hidden = false;
  row.querySelector(".tile-class").textContent = found.class ?? "";
  row.querySelector(".tile-number").replaceChildren(make("span", `seed ${found.seed}`), " ", make("span", `image ${found.index}`));
  const link = row.querySelector(".download");
  Object.assign(link, { href: image.url, download: image.name, title: "Download PNG" });
  link.setAttribute("aria-label", `Download image ${found.index}`);
  const tile = row.querySelector(".tile");
  tile.disabled = false;
  tile.addEventListener("click", () => view(image));
}

const describe = (image) => `Image ${image.index} of seed ${image.seed}${image.class === null ? "" : `, ${image.class}`}`;

function view(image) {
  large = image;
  $("large").src = image.url;
  $("large").alt = describe(image);
  $("viewer-title").textContent = image.class ?? `Image ${image.index}`;
  const { guidance, steps, solver, weights } = image.text;
  const facts = [["Seed", image.seed], ["Image", image.index], ["Guidance", guidance], ["Steps", `${steps}, ${solver}`], ["Network", weights.slice(0, 12)]];
  $("facts").replaceChildren(...facts.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(make("dt", name), make("dd", value));
    return pair;
  }));
  Object.assign($("save"), { href: image.url, download: image.name });
  if (!$("viewer").open) $("viewer").showModal();
}

function turn(by) {
  const next = shown[shown.indexOf(large) + by];
  if (next?.url) view(next);
}

// ---- What people do -------------------------------------------------------------------------------------------------

$("wanted").addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});

$("stop").addEventListener("click", () => work?.abort());

$("dice").addEventListener("click", () => {
  $("seed").value = Math.floor(SEEDS * Math.random());
  say(`Seed ${$("seed").value}.`);
});

for (const id of ["guidance", "steps"]) $(id).addEventListener("input", showValues);

$("alone").addEventListener("click", () => {
  $("viewer").close();
  choose(large.class ?? "");
  Object.assign($("n"), { value: 1 });
  Object.assign($("seed"), { value: large.seed });
  Object.assign($("first"), { value: large.index });
  Object.assign($("steps"), { value: large.text.steps });
  Object.assign($("guidance"), { value: large.text.guidance });
  showValues();
  generate();
});

$("close").addEventListener("click", () => $("viewer").close());

$("viewer").addEventListener("click", (event) => {
  if (event.target === $("viewer")) $("viewer").close(); // beside it
});

$("viewer").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});

showValues();
introduce(begin);
