// @ts-check

/** Whether a key was pressed where a reader writes or chooses, so that it is none of the page's. @param {Event} event */
export function isWriting(event) {
  return event.target instanceof Element && event.target.matches("input, textarea, select, [contenteditable]");
}
