// The network's card.

import { $, make } from "./server.js";

// `own`: pairs of a name and a text that only one kind of network has, before and after the figures.
export function showCard(model, [before, after]) {
  const facts = [
    ["Trained on", model.data],
    ["Parameters", model.parameters.toLocaleString("en")],
    ...before,
    ...Object.entries(model.metrics).flatMap(([split, found]) => quality(split, found)),
    ...after,
    ["Recipe", model.recipe],
    ["Made", model.created.slice(0, 10)],
  ];
  $("card").replaceChildren(...facts.map(fact));
  $("classes").replaceChildren(...model.classes.map((name) => make("li", name)));
}

export const sizeOf = ({ size, height, channels }) => `${size} × ${height} pixels, ${["grey", "grey with transparency", "colour", "colour with transparency"][channels - 1] ?? `${channels} channels`}`;

function quality(split, found) {
  if (found.ap !== undefined) return [[`Box AP, ${split}`, `${(100 * found.ap).toFixed(1)} (AP50 ${(100 * found.ap50).toFixed(1)})`]];
  if (found.velocity_loss !== undefined) return generation(split, found);
  const [name, value] = Object.entries({ Accuracy: found.top1, "Mean average precision": found.map, "Mean IoU": found.miou }).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined) return [];
  const [low, high] = found.top1_interval ?? found.miou_interval ?? [];
  const range = low === undefined ? "" : ` (${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)})`;
  return [[`${name}, ${split}`, `${(100 * value).toFixed(1)} %${range}`]];
}

function generation(split, found) {
  const distance = found.frechet_distance === undefined ? [] : [[`Fréchet distance, ${split}`, `${found.frechet_distance.toPrecision(3)} in features of ${found.features}, ${found.samples.toLocaleString("en")} samples`]];
  return [...distance, [`Velocity loss, ${split}`, found.velocity_loss.toFixed(4)]];
}

function fact([name, value]) {
  const pair = document.createElement("div");
  pair.append(make("dt", name), make("dd", value));
  return pair;
}
