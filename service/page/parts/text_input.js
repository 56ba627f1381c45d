import { html, useState } from "../vendor/preact.js";

/**
 * A line of text that is given with Enter or by leaving it. What is being typed stays, whatever else changes on the page.
 *
 * @param {{value: string, onGive: (text: string) => void, inputRef?: object}} props and what else an input has.
 */
export function TextInput({ value, onGive, inputRef, ...rest }) {
  const [draft, setDraft] = useState(null);
  const give = ({ target }) => {
    setDraft(null);
    if (target.value !== value) onGive(target.value);
  };
  const press = ({ key, target }) => {
    if (key === "Escape") setDraft(null);
    if (key === "Enter") target.blur();
  };
  return html`<input
    ...${rest}
    ref=${inputRef}
    value=${draft ?? value}
    onInput=${({ target }) => setDraft(target.value)}
    onBlur=${give}
    onKeyDown=${press}
  />`;
}
