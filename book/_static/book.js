/* Small repairs the pages need. No library, no request to another host. */

/* The widget manager speaks MathJax 2, the page has MathJax 3 (loaded before this file, see
   _config.yml): translate its one call, so that formulas in widgets are typeset as well. */
if (window.MathJax && !window.MathJax.Hub) {
  window.MathJax.Hub = {
    Queue: ([, , element]) => {
      element.classList.add("tex2jax_process");
      window.MathJax.startup.promise.then(() => window.MathJax.typesetPromise([element]));
    },
  };
}

/* The Play widget's icons: let Font Awesome put its drawing inside the element the widget holds,
   instead of replacing that element. */
window.FontAwesomeConfig = { ...window.FontAwesomeConfig, autoReplaceSvg: "nest" };

/* Wide tables and code scroll sideways: let the keyboard reach them. */
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".output.text_html, .pst-scrollable-table-container, div.highlight pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
});

/* A slider's handle has no name of its own: give it that of the label beside it. */
window.addEventListener("load", () => {
  if (!document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')) return;
  const nameHandles = () => {
    for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])")) {
      const label = handle.closest(".widget-slider").querySelector(".widget-label");
      handle.setAttribute("aria-label", label?.textContent.trim() || "choose");
    }
  };
  new MutationObserver(nameHandles).observe(document.body, { childList: true, subtree: true });
  nameHandles();
});

/* Paper is white: print in the light mode, whatever the reader's mode is. */
window.addEventListener("beforeprint", () => {
  const root = document.documentElement;
  const mode = root.dataset.theme;
  root.dataset.theme = "light";
  window.addEventListener("afterprint", () => { root.dataset.theme = mode; }, { once: true });
});
