import { html } from "../vendor/preact.js";
import { percent } from "../words.js";
import { shownExample } from "./example_dialog.js";

const SIZE = 100;
const MARGIN = 9;
const MOST_PICTURES = 120;

/** The examples on a plane: near is what the model sees alike. */
export function EmbeddingMap({ workspace }) {
  const found = workspace.map.value;
  return html`
    <section class="map" aria-labelledby="map-title">
      <header>
        <h2 id="map-title">Map</h2>
        <p>What lies near is alike to the model.</p>
      </header>
      ${found?.points.length ? html`<${Plane} workspace=${workspace} found=${found} />` : html`<p class="small">There is nothing to draw for this model.</p>`}
    </section>
  `;
}

function Plane({ workspace, found }) {
  const place = placing(found.points);
  const radius = found.points.length > 60 ? 2.6 : 4.2;
  const shares = found.variance_percent.reduce((sum, share) => sum + share, 0) / 100;
  const labels = [...new Set(found.points.map(({ label }) => label))];
  const words = `A map of ${found.points.length} pictures of ${labels.join(", ")}; near is what the model sees alike`;
  return html`
    <svg viewBox=${`0 0 ${SIZE} ${SIZE}`} role="img" aria-label=${words}>
      <defs><clipPath id="round" clipPathUnits="objectBoundingBox"><circle cx=".5" cy=".5" r=".5" /></clipPath></defs>
      ${found.points.map((point) => html`<${Point} key=${point.example_id} workspace=${workspace} point=${point} at=${place(point)} radius=${radius} />`)}
    </svg>
    <ul class="legend">
      ${labels.map((label) => html`<li key=${label} class=${`c${workspace.classNamed(label)?.colour ?? 0}`}><span class="dot"></span>${label}</li>`)}
    </ul>
    <p class="small">The two directions show ${percent(shares)} of all differences.</p>
  `;
}

function Point({ workspace, point, at: [x, y], radius }) {
  const example = workspace.exampleOf(point.example_id);
  const colour = `c${workspace.classNamed(point.label)?.colour ?? 0}`;
  const suspect = workspace.suspects.value.has(point.example_id);
  const pictured = example?.thumb && workspace.map.value.points.length <= MOST_PICTURES;
  return html`
    <g class=${`point ${colour}${suspect ? " suspect" : ""}`} onClick=${() => example && (shownExample.value = example.id)}>
      <title>${example?.name ?? point.example_id}: ${point.label}</title>
      <circle cx=${x} cy=${y} r=${radius} />
      ${pictured &&
      html`<image href=${example.thumb} x=${x - radius + 0.5} y=${y - radius + 0.5} width=${2 * radius - 1} height=${2 * radius - 1} preserveAspectRatio="xMidYMid slice" clip-path="url(#round)" />`}
    </g>
  `;
}

/** Points → places on the drawing, both axes on one scale. */
function placing(points) {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const extent = (values) => Math.max(...values) - Math.min(...values);
  const scale = (SIZE - 2 * MARGIN) / Math.max(extent(xs), extent(ys), 1e-9);
  const [cx, cy] = [middle(xs), middle(ys)];
  return ({ x, y }) => [SIZE / 2 + (x - cx) * scale, SIZE / 2 - (y - cy) * scale];
}
