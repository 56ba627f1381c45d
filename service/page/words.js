/** Numbers and times in words. */

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;

/** A share as people say it: neither 0 % nor 100 % of what is only nearly so. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share < 1 && share > 0.99) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

/** The service's words as a sentence of the page. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

/** How long ago, by an ISO time. */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["minute", Infinity];
  return size === Infinity ? "just now" : RELATIVE.format(-Math.floor(seconds / size), unit);
}
