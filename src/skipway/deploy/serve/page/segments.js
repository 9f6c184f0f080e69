// The class of every pixel, drawn over a picture in the colours of the package's own drawings, which are Pascal VOC's.

import { runLengths } from "./objects.js";

const MOST = 4e6; // pixels of the canvas: phones have no memory for more

// Red, green and blue of a class by its number: its bits, three at a time from the lowest, are theirs from the highest.
export function colour(number) {
  const parts = [0, 0, 0];
  for (let place = 0; place < 8; place += 1) {
    parts.forEach((_, i) => { parts[i] |= ((number >> (3 * place + i)) & 1) << (7 - place); });
  }
  return parts;
}

export const css = (number) => `rgb(${colour(number).join(" ")})`;

// As one number, in the order of bytes that a canvas has.
const packed = (number) => new Uint32Array(new Uint8Array([...colour(number), 255]).buffer)[0];

// Segments onto a <canvas> of the masks' size, or of every other pixel, every third, ... of it; one class may be alone.
export function drawSegments(canvas, segments, classes, only) {
  const [height, width] = segments[0].mask.size;
  const step = Math.ceil(Math.sqrt((height * width) / MOST));
  canvas.width = Math.ceil(width / step);
  canvas.height = Math.ceil(height / step);
  const pixels = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  const words = new Uint32Array(pixels.data.buffer);
  for (const { class: name, mask } of segments) {
    if (only && only !== name) continue;
    const paint = packed(classes.indexOf(name));
    let at = 0; // columns come first in COCO's encoding
    runLengths(mask.counts).forEach((run, place) => {
      const end = at + run;
      for (; place % 2 && at < end; at += 1) {
        const row = at % height;
        const column = (at - row) / height;
        if (row % step === 0 && column % step === 0) words[(row / step) * canvas.width + column / step] = paint;
      }
      at = end;
    });
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
