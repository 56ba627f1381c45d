import { html, useEffect, useState } from "../vendor/preact.js";
import { adviceFor } from "../advice.js";
import { delayed } from "../api.js";
import { close, notices, spoken } from "../notices.js";
import { count, sentence } from "../words.js";
import { Icon } from "./dialog.js";

const MOST_PARTS = 5;
const TICK_MS = 200;

/** What happened, in a corner. Problems are alerts; news are read out by the page's status line. */
export function Notices() {
  return html`
    <section class="notices" aria-label="Messages">
      ${delayed.value.length > 0 && html`<${Delay} waiting=${delayed.value} />`}
      ${notices.value.map((notice) => (notice.problem ? html`<${Trouble} key=${notice.id} notice=${notice} />` : html`<${News} key=${notice.id} notice=${notice} />`))}
    </section>
  `;
}

/** Counts down to the next attempt of those that wait; read aloud once, not every second. */
function Delay({ waiting }) {
  const [now, setNow] = useState(Date.now());
  const last = waiting.reduce((one, other) => (other.until > one.until ? other : one));
  const words = `${last.problem.title}. Asking again in ${count(Math.max(Math.ceil((last.until - now) / 1000), 1), "second")}.`;
  useEffect(() => {
    spoken.value = words;
    const ticking = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(ticking);
  }, []);
  return html`<div class="notice">
    <${Icon} name="clock" />
    <p>${words}</p>
    <button type="button" class="quiet" onClick=${() => waiting.forEach(({ stop }) => stop())}>Stop</button>
  </div>`;
}

function News({ notice }) {
  return html`<div class="notice"><${Icon} name="check" /><p>${notice.text}</p><${Close} notice=${notice} /></div>`;
}

function Trouble({ notice }) {
  const { title, detail, errors, requestId } = notice.problem;
  const advice = adviceFor(notice.problem);
  const again = () => {
    close(notice.id);
    notice.retry();
  };
  return html`
    <div class="notice bad" role="alert">
      <${Icon} name="warning" />
      <div>
        <h2>${title}</h2>
        <p>${sentence(detail)}</p>
        ${errors.length > 1 &&
        html`<ul>
          ${errors.slice(0, MOST_PARTS).map(({ msg }) => html`<li>${msg}</li>`)}
          ${errors.length > MOST_PARTS && html`<li>and ${errors.length - MOST_PARTS} more</li>`}
        </ul>`}
        ${advice && html`<p class="advice">${advice}</p>`}
        ${requestId && html`<p class="small">Request <code>${requestId}</code></p>`}
        ${notice.retry && html`<button type="button" onClick=${again}>Try again</button>`}
      </div>
      <${Close} notice=${notice} />
    </div>
  `;
}

function Close({ notice }) {
  return html`<button type="button" class="quiet icon" aria-label="Close message" onClick=${() => close(notice.id)}>
    <${Icon} name="close" />
  </button>`;
}
