// @ts-check
// What the pages do beyond links and forms; without it they lose nothing that is written on them.
import { showHelp } from "./help.js";
import { followKeys } from "./keys.js";
import { markExamples, openTexts, showDigits, walkTokens } from "./examples.js";

const root = document.documentElement;

document.getElementById("theme")?.addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
  root.dataset.theme = theme;
  localStorage.setItem("theme", theme);
});

followKeys();
showHelp();
markExamples();
walkTokens();
showDigits();
openTexts();
