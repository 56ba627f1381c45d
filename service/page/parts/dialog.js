/** The browser's own dialog, which keeps the focus inside and closes with Escape. */

import { html, useEffect, useId, useRef } from "../vendor/preact.js";

/** @param {{title: string, onClose: () => void, children: any, class?: string}} props */
export function Dialog({ title, onClose, children, class: kind = "" }) {
  const self = useRef(null);
  const heading = useId();
  useEffect(() => {
    self.current.showModal();
    return () => self.current?.close();
  }, []);
  const besides = (event) => event.target === self.current && onClose();
  return html`
    <dialog ref=${self} class=${kind} aria-labelledby=${heading} onClose=${onClose} onClick=${besides}>
      <div class="sheet">
        <header>
          <h2 id=${heading}>${title}</h2>
          <button type="button" class="quiet icon" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>
        </header>
        ${children}
      </div>
    </dialog>
  `;
}

const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3.5 3.5 0 1 0 0 7a3.5 3.5 0 0 0 0-7z",
  folder: "M3 6h6l2 2h10v11H3z",
  files: "M5 4h14v16H5zM5 16l4-5 3 3 3-4 4 5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  list: "M4 6h16M4 12h16M4 18h16",
  key: "M15 8a4 4 0 1 1-3.5 5.9L4 21v-3h3v-3h3l1.3-1.3A4 4 0 0 1 15 8z",
  copy: "M8 8h12v12H8zM4 16V4h12",
  check: "M5 13l4 4L19 7",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  clock: "M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16zM12 8v4.5l3 2",
  upload: "M12 20V9M7 14l5-5 5 5M5 4h14",
  warning: "M12 4L2.5 20h19zM12 10v4.5M12 17.2v.3",
};

/** A drawing beside words, or in a button that has an `aria-label`. */
export function Icon({ name }) {
  return html`<svg class="drawn" viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}
