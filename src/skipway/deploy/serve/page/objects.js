// Objects drawn over a picture: boxes as SVG, masks on a canvas, in the colours of the package's own drawings.

const COLOURS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2"];
const LABELLED = 24; // objects of which each has its label; among more, labels would hide the picture
const SVG = "http://www.w3.org/2000/svg";

export const colour = (name, classes) => COLOURS[Math.max(0, classes.indexOf(name)) % COLOURS.length];

// The answer's objects with at least this score, the best first.
export const above = (objects, threshold) => objects.filter((one) => one.score >= threshold);

// [class, how many, best score] of objects, the most frequent first.
export function counted(objects) {
  const counts = new Map();
  for (const { class: name, score } of objects) {
    const [count, best] = counts.get(name) ?? [0, 0];
    counts.set(name, [count + 1, Math.max(best, score)]);
  }
  return [...counts].map(([name, [count, best]]) => [name, count, best]).sort((a, b) => b[1] - a[1] || b[2] - a[2]);
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Boxes into an <svg> that covers the picture of `width` x `height` pixels; one class may be set apart.
export function drawBoxes(svg, objects, { width, height }, classes, only) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const line = Math.max(width, height) / 220;
  const size = Math.max(width, height) / 34;
  svg.replaceChildren(...[...objects].reverse().map(({ class: name, score, box }) => {
    const group = element("g", { opacity: !only || only === name ? 1 : 0.15 });
    const { left, top, right, bottom } = box;
    const paint = colour(name, classes);
    group.append(element("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: "none", stroke: paint, "stroke-width": line }));
    if (objects.length > LABELLED && only !== name) return group;
    const label = `${name} ${score.toFixed(2)}`;
    const wide = 0.58 * size * label.length + 0.5 * size;
    const y = top >= 1.3 * size ? top - 1.3 * size : top;
    const x = Math.min(Math.max(left, 0), Math.max(width - wide, 0));
    group.append(element("rect", { x, y, width: wide, height: 1.3 * size, fill: paint }));
    const text = element("text", { x: x + 0.25 * size, y: y + size, "font-size": size, fill: "#111" });
    text.textContent = label;
    group.append(text);
    return group;
  }));
}

// COCO's compressed run lengths as numbers: five bits a character, each run from the third on as a difference.
export function runLengths(counts) {
  const runs = [];
  for (let at = 0; at < counts.length;) {
    let value = 0;
    let shift = 0;
    let bits;
    do {
      bits = counts.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

// Masks onto a <canvas> of the picture's size; columns come first in COCO's encoding.
export function drawMasks(canvas, objects, { width, height }, classes) {
  const masked = objects.filter((one) => one.mask);
  canvas.hidden = !masked.length;
  if (!masked.length) return;
  canvas.width = width;
  canvas.height = height;
  const pixels = canvas.getContext("2d").createImageData(width, height);
  for (const { class: name, mask } of [...masked].reverse()) {
    const paint = colour(name, classes).match(/\w\w/g).map((part) => parseInt(part, 16));
    let at = 0;
    runLengths(mask.counts).forEach((run, place) => {
      for (const end = at + run; at < end; at += 1) {
        if (place % 2) pixels.data.set([...paint, 115], 4 * ((at % height) * width + Math.floor(at / height)));
      }
    });
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
