// What the theme leaves out for those who use a keyboard or a screen reader: code that scrolls
// can be reached, signatures are no lists of definitions, and the two side bars have names of their own.
document.addEventListener("DOMContentLoaded", () => {
  for (const block of document.querySelectorAll("pre, .table-wrapper")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }
  // Sphinx sets long signatures as definitions without terms.
  for (const list of document.querySelectorAll(".sig dl")) {
    const lines = document.createElement("div");
    for (const item of [...list.children]) {
      const line = document.createElement("div");
      line.className = "sig-line";
      line.append(...item.childNodes);
      lines.append(line);
    }
    list.replaceWith(lines);
  }
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
});
