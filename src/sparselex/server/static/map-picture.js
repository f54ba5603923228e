// @ts-check
// The picture of a map: places as typed arrays, drawn into the pixels of a canvas by hand, since a hundred thousand
// calls for a disc each take too long.

/**
 * @typedef {{ n: number, latents: Int32Array, x: Float32Array, y: Float32Array, step: Uint8Array, cluster: Uint8Array,
 *   fits: Uint8Array, order: Uint32Array }} Points
 * @typedef {{ x0: number, y0: number, x1: number, y1: number }} View
 */

/** @param {ArrayBuffer} bytes @returns {Points} */
export function read(bytes) {
  const n = new DataView(bytes).getUint32(0, true);
  const bytesOf = (/** @type {number} */ place) => new Uint8Array(bytes, 4 + 12 * n + place * n, n);
  const step = bytesOf(0);
  return {
    n,
    latents: new Int32Array(bytes, 4, n),
    x: new Float32Array(bytes, 4 + 4 * n, n),
    y: new Float32Array(bytes, 4 + 8 * n, n),
    step,
    cluster: bytesOf(1),
    fits: bytesOf(2),
    order: byStep(step),
  };
}

// Low steps first: what stands out lies on top.
/** @param {Uint8Array} step */
function byStep(step) {
  const starts = new Uint32Array(258);
  for (const one of step) starts[one + 1]++;
  for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
  const order = new Uint32Array(step.length);
  for (let i = 0; i < step.length; i++) order[starts[step[i]]++] = i;
  return order;
}

/** The offsets of the pixels of a disc in rows of `width`. @param {number} radius @param {number} width */
function disc(radius, width) {
  const found = [], reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) if (dx * dx + dy * dy <= radius * radius + 0.3) found.push(dy * width + dx);
  return Int32Array.from(found);
}

/** A colour as `getComputedStyle` writes it, as the number of a pixel. @param {string} colour */
export function pixel(colour) {
  const paint = /** @type {CanvasRenderingContext2D} */ (new OffscreenCanvas(1, 1).getContext("2d"));
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 1, 1);
  return new Uint32Array(paint.getImageData(0, 0, 1, 1).data.buffer)[0];
}

export class Picture {
  /** @param {HTMLCanvasElement} canvas @param {Points} points */
  constructor(canvas, points) {
    this.canvas = canvas;
    this.points = points;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {ImageData | null} */
    this.image = null;
    /** @type {Uint8Array | null} */
    this.inside = null;
  }

  /** Draws all places, those that are selected and fit in their colours. Gives the milliseconds that it took.
   * @param {View} view @param {Uint32Array} colours by step @param {number} paper @param {number} faint */
  draw(view, colours, paper, faint) {
    const began = performance.now();
    const { width, height } = this.canvas, { points, inside } = this;
    if (!this.image || this.image.width !== width || this.image.height !== height)
      this.image = this.context.createImageData(width, height);
    const pixels = new Uint32Array(this.image.data.buffer).fill(paper);
    const ratio = devicePixelRatio, density = Math.sqrt((width * height) / Math.max(1, this.nIn(view)));
    const radius = Math.min(4.5, Math.max(1, density / (6 * ratio))) * ratio;
    const discs = [0, 1, 2, 3, 4, 5, 6].map((step) => disc(radius * (0.8 + 0.08 * step), width));
    const small = disc(radius * 0.6, width), margin = Math.ceil(radius * 1.3) + 1;
    const across = width / (view.x1 - view.x0), up = height / (view.y1 - view.y0);
    for (const shown of [false, true])
      for (const i of points.order) {
        const chosen = points.fits[i] === 1 && (!inside || inside[i] === 1);
        if (chosen !== shown) continue;
        const x = ((points.x[i] - view.x0) * across) | 0, y = ((view.y1 - points.y[i]) * up) | 0;
        if (x < margin || y < margin || x >= width - margin || y >= height - margin) continue;
        const step = points.step[i], at = y * width + x, colour = shown ? colours[step] : faint;
        for (const offset of shown ? discs[Math.min(step, 6)] : small) pixels[at + offset] = colour;
      }
    this.context.putImageData(this.image, 0, 0);
    return performance.now() - began;
  }

  /** How many places lie in a view. @param {View} view */
  nIn(view) {
    const { x, y, n } = this.points;
    let found = 0;
    for (let i = 0; i < n; i++) if (x[i] >= view.x0 && x[i] <= view.x1 && y[i] >= view.y0 && y[i] <= view.y1) found++;
    return found;
  }

  /** The place nearest to a point; one of a direction where `along` is given. -1 for none.
   * @param {number} x0 @param {number} y0 @param {[number, number] | null} along @param {number} besides */
  nearest(x0, y0, along = null, besides = -1) {
    const { x, y, n, fits } = this.points;
    let best = Infinity, found = -1;
    for (let i = 0; i < n; i++) {
      if (i === besides || fits[i] === 0) continue;
      const dx = x[i] - x0, dy = y[i] - y0, away = dx * dx + dy * dy;
      if (away >= best) continue;
      if (along) {
        const forward = dx * along[0] + dy * along[1];
        if (forward <= 0 || 2 * forward * forward < away) continue; // within 45 degrees
      }
      best = away;
      found = i;
    }
    return found;
  }

  /** Remembers which places lie inside an outline, a flat list of corners; none for all. @param {number[]} corners */
  select(corners) {
    const { x, y, n } = this.points;
    this.inside = null;
    if (corners.length < 4) return;
    const outline = corners.length === 4 ? box(corners) : corners;
    const inside = (this.inside = new Uint8Array(n));
    for (let k = 0; k < outline.length; k += 2) {
      const x0 = outline[k], y0 = outline[k + 1];
      const x1 = outline[(k + 2) % outline.length], y1 = outline[(k + 3) % outline.length];
      const low = Math.min(y0, y1), high = Math.max(y0, y1), slope = (x1 - x0) / (y1 - y0);
      // A ray to the right crosses the outline an odd number of times from within.
      for (let i = 0; i < n; i++) if (y[i] >= low && y[i] < high && x[i] < slope * (y[i] - y0) + x0) inside[i] ^= 1;
    }
  }

  /** Remembers the places of one cluster. @param {number} cluster */
  selectCluster(cluster) {
    this.inside = this.points.cluster.map((one) => (one === cluster % 255 ? 1 : 0));
  }
}

/** The corners of a rectangle. @param {number[]} ends */
export function box([x0, y0, x1, y1]) {
  return [x0, y0, x1, y0, x1, y1, x0, y1];
}
