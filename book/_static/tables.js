// A numbered table that is wider than the page is pushed sideways by the keyboard, too, as the theme has it for others.
document.addEventListener("DOMContentLoaded", () => {
  for (const output of document.querySelectorAll("figure.numbered-table .output")) {
    if (output.scrollWidth > output.clientWidth) output.tabIndex = 0;
  }
});
