// Pictures go to this server and nowhere else; what is tried stays in this tab's memory.

import { showCard, sizeOf } from "./card.js";
import { above, counted, drawBoxes, drawMasks } from "./objects.js";
import { css, drawSegments } from "./segments.js";
import { $, Refusal, askPatiently, count, introduce, make, milliseconds, say } from "./server.js";

const AT_ONCE = 3; // requests under way at a time
const KEPT = 60; // pictures in the history
const LEAST = 0.05; // score of the objects that are asked for; the slider hides those below the threshold

const percent = (share) => (share < 0.0005 ? "< 0.1 %" : share >= 0.9995 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

let model = null;
let chosen = null; // the item on the stage
let items = []; // the newest first
let waiting = []; // items whose turn has not come
let underWay = 0;

// ---- The network's card ---------------------------------------------------------------------------------------------

function begin(card) {
  model = card;
  $("summary").textContent = `Knows ${count(model.classes.length, "class", "classes")}. Show it a picture.`;
  showCard(model, [[["Sees", sizeOf(model)]], fitted()]);
  if (answersWith("objects")) setThreshold(model.calibration?.threshold ?? 0.3);
}

// Whether the server's answers have a field: classes, objects or segments.
const answersWith = (field) => model.fields.includes(field);

function fitted() {
  const { calibration } = model;
  if (answersWith("objects")) return [["Threshold", calibration ? `${calibration.threshold.toFixed(2)} (best F1 on ${calibration.split})` : "not fitted"]];
  if (answersWith("classes")) return [["Probabilities", calibration ? `calibrated (temperature ${calibration.temperature.toFixed(2)})` : "not calibrated"]];
  return [];
}

// ---- Asking about pictures ------------------------------------------------------------------------------------------

function send(path, file) {
  const body = new FormData();
  body.append("images", file, file.name || "picture");
  return askPatiently(path, { method: "POST", body });
}

function take(files) {
  const added = [...files].map((file) => ({
    file,
    name: file.name || "Pasted picture",
    url: URL.createObjectURL(file),
    state: "asking",
    heats: new Map(),
    heatOn: false,
  }));
  if (!added.length || !model) return;
  for (const item of added) {
    item.row = row(item);
    items.unshift(item);
    $("tried").prepend(item.row);
  }
  items.splice(KEPT).forEach(forget);
  waiting.push(...added);
  choose(added[0]);
  document.body.classList.add("busy-with-some");
  $("history").hidden = false;
  say(added.length === 1 ? `Asking about ${added[0].name}.` : `Asking about ${added.length} pictures.`);
  work();
}

function work() {
  while (underWay < AT_ONCE && waiting.length) {
    underWay += 1;
    answer(waiting.shift()).finally(() => {
      underWay -= 1;
      work();
    });
  }
}

async function answer(item) {
  const start = performance.now();
  item.state = "asking";
  show(item);
  try {
    if (item.file.size > model.limits.body_bytes - 1000) {
      throw new Refusal(413, `It is larger than the ${Math.floor(model.limits.body_bytes / 1e6)} MB that are taken.`);
    }
    const query = answersWith("objects") ? `threshold=${LEAST}` : "top=5";
    const { images: [found], seconds } = await (await send(`v1/predict?${query}`, item.file)).json();
    Object.assign(item, { state: "answered", found, seconds, trip: (performance.now() - start) / 1000 });
    if (found.objects) {
      say(`${item.name}: ${summaryOf(item)}.`);
    } else if (found.segments) {
      say(`${item.name}: ${found.segments.map(({ class: name, share }) => `${name} ${percent(share)}`).join(", ")}.`);
    } else {
      Object.assign(item, { classes: found.classes, target: found.classes[0].class });
      say(`${item.name}: ${item.target}, ${percent(found.classes[0].probability)}.`);
    }
  } catch (refusal) {
    Object.assign(item, { state: "failed", fault: refusal.message, again: refusal.status !== 422 && refusal.status !== 413 });
    say(`${item.name}: ${refusal.message}`);
  }
  show(item);
}

function forget(item) {
  URL.revokeObjectURL(item.url);
  item.heats.forEach((heat) => URL.revokeObjectURL(heat));
  item.row.remove();
  waiting = waiting.filter((other) => other !== item);
}

// ---- What is seen ---------------------------------------------------------------------------------------------------

function row(item) {
  const element = $("tried-item").content.cloneNode(true).firstElementChild;
  const image = element.querySelector("img");
  image.addEventListener("error", () => image.classList.add("unshown"));
  image.src = item.url;
  element.querySelector("button").addEventListener("click", () => choose(item));
  return element;
}

function choose(item) {
  chosen = item;
  items.forEach((other) => other.row.querySelector("button").setAttribute("aria-current", String(other === item)));
  $("unshown").hidden = true;
  $("picture").hidden = false;
  $("picture").src = item.url;
  $("picture").alt = item.name;
  show(item);
}

// What an answer says: [above the verdict, the verdict, in the history], whatever it holds.
function wording(item) {
  if (item.state === "asking") return ["One moment", "Asking the network", "Asking", item.name];
  if (item.state === "failed") return ["No answer", item.name, "Not read", item.name];
  if (item.found.objects) {
    const shown = shownOf(item);
    return [`Score of at least ${threshold().toFixed(2)}`, summaryOf(item), count(shown.length, "object", "objects"), counted(shown)[0]?.[0] ?? ""];
  }
  if (item.found.segments) {
    const [{ class: name, share }] = item.found.segments;
    return [`Largest part, ${percent(share)}`, name, name, percent(share)];
  }
  const [best] = item.classes;
  return [`Most likely, ${percent(best.probability)}`, best.class, best.class, percent(best.probability)];
}

function show(item) {
  const [kicker, verdict, name, share] = wording(item);
  item.row.className = item.state;
  item.row.querySelector(".tried-name").textContent = name;
  item.row.querySelector(".tried-share").textContent = share;
  if (item !== chosen) return;
  $("stage").hidden = false;
  $("frame").classList.toggle("waiting", item.state === "asking");
  $("kicker").textContent = kicker;
  $("verdict").textContent = verdict;
  $("sentence").textContent = item.state === "failed" ? item.fault : "";
  $("sentence").className = item.state === "failed" ? "fault" : "";
  $("again").hidden = !(item.state === "failed" && item.again);
  $("caption").textContent = item.state === "answered" ? `${item.name} · ${milliseconds(item.trip)}, of which ${milliseconds(item.seconds)} on the server` : item.name;
  const { objects, segments } = item.state === "answered" ? item.found : {};
  $("heat-controls").hidden = !item.classes;
  $("threshold-controls").hidden = !objects;
  $("opacity-controls").hidden = !segments;
  if (objects) showCounts(item);
  else if (segments) showShares(item);
  else showBars(item);
  $("masks").hidden = !segments;
  showObjects(item, Boolean(objects));
  if (segments) showSegments(item);
  showHeat(item);
}

// ---- Objects --------------------------------------------------------------------------------------------------------

const threshold = () => Number($("threshold").value);
const shownOf = (item) => above(item.found.objects, threshold());

function summaryOf(item) {
  const found = counted(shownOf(item));
  return found.length ? found.map(([name, n]) => `${n} ${name}`).join(", ") : "No object found";
}

function setThreshold(value) {
  $("threshold").value = value;
  $("threshold-value").textContent = threshold().toFixed(2);
}

function showObjects(item, objects) {
  $("boxes").toggleAttribute("hidden", !objects); // SVG has no property of that name
  if (!objects) return;
  $("masks").style.opacity = 1;
  const shown = shownOf(item);
  drawBoxes($("boxes"), shown, item.found, model.classes, item.only);
  drawMasks($("masks"), shown, item.found, model.classes);
  $("boxes").setAttribute("aria-label", `Objects found: ${summaryOf(item)}`);
}

function showCounts(item) {
  $("note").textContent = "Choose a class to set its boxes apart. The bar is the best score.";
  $("bars").shown = null;
  $("bars").replaceChildren(...counted(shownOf(item)).map(([name, n, best]) => {
    const element = $("bar-item").content.cloneNode(true).firstElementChild;
    const button = element.firstElementChild;
    element.querySelector(".bar-name").textContent = name;
    element.querySelector(".bar-value").textContent = `${n} · ${best.toFixed(2)}`;
    element.querySelector(".bar-fill").style.setProperty("--share", best);
    button.setAttribute("aria-pressed", String(item.only === name));
    button.addEventListener("click", () => {
      item.only = item.only === name ? undefined : name;
      show(item);
    });
    return element;
  }));
}

// ---- The class of every pixel ---------------------------------------------------------------------------------------

function showSegments(item) {
  $("masks").style.opacity = $("opacity").value / 100;
  if ($("masks").shown === item && $("masks").only === item.only) return;
  Object.assign($("masks"), { shown: item, only: item.only });
  drawSegments($("masks"), item.found.segments, model.classes, item.only);
}

function showShares(item) {
  $("note").textContent = "Choose a class to see it alone. The bar is its share of the picture.";
  $("bars").shown = null;
  $("bars").replaceChildren(...item.found.segments.map(({ class: name, share }) => {
    const element = $("bar-item").content.cloneNode(true).firstElementChild;
    const button = element.firstElementChild;
    const swatch = make("span", "");
    swatch.className = "swatch";
    swatch.style.background = css(model.classes.indexOf(name));
    element.querySelector(".bar-name").append(swatch, name);
    element.querySelector(".bar-value").textContent = percent(share);
    element.querySelector(".bar-fill").style.setProperty("--share", share);
    button.setAttribute("aria-pressed", String(item.only === name));
    button.addEventListener("click", () => {
      item.only = item.only === name ? undefined : name;
      show(item);
    });
    return element;
  }));
}

// ---- Classes of the picture -----------------------------------------------------------------------------------------

function showBars(item) {
  const found = item.classes ?? [];
  $("note").textContent = !found.length ? "" : model.calibration ? "Probabilities are calibrated: of pictures given 80 %, about eight in ten are right." : "Probabilities as the network gives them; it was not calibrated.";
  if ($("bars").shown === found) {
    found.forEach(({ class: name }, place) => $("bars").children[place].firstElementChild.setAttribute("aria-pressed", String(item.heatOn && name === item.target)));
    return;
  }
  $("bars").shown = found;
  $("bars").replaceChildren(...found.map(({ class: name, probability }) => {
    const element = $("bar-item").content.cloneNode(true).firstElementChild;
    const button = element.firstElementChild;
    element.querySelector(".bar-name").textContent = name;
    element.querySelector(".bar-value").textContent = percent(probability);
    element.querySelector(".bar-fill").style.setProperty("--share", probability);
    button.title = "Show what speaks for it";
    button.setAttribute("aria-pressed", String(item.heatOn && name === item.target));
    button.addEventListener("click", () => {
      item.heatOn = !(item.heatOn && item.target === name);
      item.target = name;
      explain(item);
    });
    return element;
  }));
}

function showHeat(item) {
  const heat = item.heatOn ? item.heats.get(item.target) : undefined;
  $("heat-on").checked = item.heatOn;
  $("heat-class").textContent = item.target ?? "";
  $("heat-fault").textContent = item.heatFault ?? "";
  $("fade").disabled = !item.heatOn;
  $("heat").hidden = !heat;
  if (heat && $("heat").getAttribute("src") !== heat) {
    $("heat").src = heat;
    $("heat").alt = `Heat map: what speaks for ${item.target}`;
  }
}

async function explain(item) {
  const target = item.target;
  item.heatFault = "";
  show(item);
  if (!item.heatOn || item.heats.has(target)) return;
  $("frame").classList.add("waiting");
  say(`Asking what speaks for ${target}.`);
  try {
    const picture = await (await send(`v1/explain?class=${encodeURIComponent(target)}`, item.file)).blob();
    item.heats.set(target, URL.createObjectURL(picture));
    say(`The heat map shows what speaks for ${target}.`);
  } catch (refusal) {
    item.heatFault = refusal.message;
    item.heatOn = false;
  }
  show(item);
}

// ---- What people do -------------------------------------------------------------------------------------------------

for (const id of ["choose", "photograph"]) {
  $(id).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // so that the same picture can be chosen again
  });
}

const images = (list) => [...list].filter((file) => !file.type || file.type.startsWith("image/"));

addEventListener("paste", (event) => {
  const files = images(event.clipboardData?.files ?? []);
  if (files.length) take(files);
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});

addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});

addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const files = images(event.dataTransfer?.files ?? []);
  if (files.length) take(files);
  else say("What was dropped is no picture.");
});

$("picture").addEventListener("error", () => {
  $("picture").hidden = true;
  $("unshown").hidden = false;
});

$("picture").addEventListener("load", () => {
  const { naturalWidth, naturalHeight } = $("picture");
  $("frame").classList.toggle("tiny", Math.max(naturalWidth, naturalHeight) <= 96);
});

// What is drawn over the picture is as large as the picture is shown.
new ResizeObserver(() => {
  const { clientWidth, clientHeight } = $("picture");
  for (const id of ["boxes", "masks"]) Object.assign($(id).style, { width: `${clientWidth}px`, height: `${clientHeight}px` });
}).observe($("picture"));

$("heat-on").addEventListener("change", (event) => {
  chosen.heatOn = event.target.checked;
  explain(chosen);
});

$("fade").addEventListener("input", () => {
  $("heat").style.opacity = $("fade").value / 100;
  $("fade-value").textContent = `${$("fade").value} %`;
});

$("opacity").addEventListener("input", () => {
  $("masks").style.opacity = $("opacity").value / 100;
  $("opacity-value").textContent = `${$("opacity").value} %`;
});

$("threshold").addEventListener("input", () => {
  setThreshold($("threshold").value);
  items.forEach(show);
});

$("again").addEventListener("click", () => {
  waiting.push(chosen);
  work();
});

$("clear").addEventListener("click", () => {
  items.forEach(forget);
  items = [];
  chosen = null;
  $("stage").hidden = true;
  $("history").hidden = true;
  document.body.classList.remove("busy-with-some");
  $("choose").focus();
  say("Cleared.");
});

$("heat").style.opacity = $("fade").value / 100;
introduce(begin);
