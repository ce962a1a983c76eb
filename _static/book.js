// Whatever scrolls can be reached, and scrolled, by keyboard. The theme sees to it, but not for
// drawings, and not for what is folded and gets its size only when it is opened.
const mayScroll = "article :is(figure, pre, .output, .pst-scrollable-table-container)";

const reachWhatScrolls = () => {
  for (const box of document.querySelectorAll(mayScroll)) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    box.tabIndex = scrolls ? 0 : -1;
  }
};

window.addEventListener("load", reachWhatScrolls);
window.addEventListener("resize", reachWhatScrolls);
document.addEventListener("click", () => setTimeout(reachWhatScrolls));

document.addEventListener("DOMContentLoaded", () => {
  // Of a find at a place without text, such as the mark of an index entry, Sphinx has no summary,
  // and fails to put that nothing below the find.
  if (typeof Search !== "undefined") {
    const summary = Search.makeSearchSummary;
    Search.makeSearchSummary = (...found) => summary(...found) ?? document.createElement("p");
  }

  // The script that folds solutions takes a click on the link in their title for one on its button,
  // which it does not find there. So such a click stays with the link.
  for (const link of document.querySelectorAll(".admonition.dropdown > .admonition-title a")) {
    link.addEventListener("click", (click) => click.stopPropagation());
  }

  // What unfolds a part of the contents has no name of its own.
  for (const summary of document.querySelectorAll("nav.bd-links summary")) {
    summary.ariaLabel = `Below ${summary.closest("li").querySelector("a").textContent}`;
  }
});
