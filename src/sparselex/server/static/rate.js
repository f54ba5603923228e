// Keys 1 to 4 press the buttons, but not while somebody writes their name.
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const button = /^[1-4]$/.test(event.key) ? document.querySelector(`button[data-key="${event.key}"]`) : null;
  if (button) button.click();
});
