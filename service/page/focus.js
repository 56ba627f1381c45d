/** The focus goes on: with the part that is taken away it would fall to the top of the page. */

/** Focuses an element of the page as it will be drawn next. */
export const focusOn = (id) => setTimeout(() => document.getElementById(id)?.focus({ preventScroll: true }));
