/* What the page tests ask a page: `book.*`, each a plain value that travels back as JSON. */
window.book = {
  views: () => document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]'),

  /* Resolves when formulas are typeset, widgets drawn and animations off. */
  settled: async () => {
    const still = document.createElement("style");
    still.textContent = "* { transition: none !important; animation: none !important; }";
    document.head.append(still);
    if (document.readyState !== "complete") await new Promise(done => addEventListener("load", done));
    if (window.MathJax?.startup) await window.MathJax.startup.promise;
    const drawn = () => document.querySelectorAll(".widget-subarea > *").length >= book.views().length;
    for (let k = 0; k < 100 && !drawn(); k++) await new Promise(done => setTimeout(done, 100));
    await new Promise(done => setTimeout(done, 700)); // whoever would still ask for something
    await document.fonts.ready;
    return true;
  },

  theme: name => Object.assign(document.documentElement.dataset, { theme: name, mode: name }),

  /* Formulas that were not typeset, or typeset with an error; raw TeX left in the text. */
  badMath: () => {
    const bad = [...document.querySelectorAll(".math")].filter(e => !e.querySelector("mjx-container"));
    const wrong = [...document.querySelectorAll("mjx-merror, mjx-mtext[mathcolor=red]")];
    const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const raw = [];
    while (text.nextNode()) {
      const node = text.currentNode;
      if (node.parentElement.closest("script, style, pre, code, mjx-container")) continue;
      if (/\\\(|\\\[|\$\$|\\begin\{/.test(node.data)) raw.push(node.data);
    }
    return [...bad, ...wrong].map(e => e.textContent.slice(0, 80)).concat(raw.map(t => t.slice(0, 80)));
  },
  mathFontsMissing: () => [...document.fonts].filter(f => /MJX/.test(f.family) && f.status === "error").map(f => f.family),

  /* One entry a widget: how many times it was drawn. */
  drawn: () => [...book.views()].map(view =>
    [...view.parentElement.querySelectorAll(":scope > .widget-subarea")].map(area => area.children.length)),

  imagesWithoutAlt: () => [...document.images].filter(i => !(i.getAttribute("alt") || "").trim()
    || /^(_images|\.\.\/_images|<Figure)|\.(png|svg|jpe?g)$/.test(i.alt)).map(i => i.outerHTML.slice(0, 120)),

  imagesBroken: () => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src.slice(0, 120)),

  controls: () => [...document.querySelectorAll(".widget-subarea .noUi-handle, .widget-subarea select")],
  unnamedControls: () => book.controls().filter(c => !(c.getAttribute("aria-label") || c.labels?.[0]?.textContent || "").trim())
    .map(c => c.outerHTML.slice(0, 120)),

  /* The frames a reader sees in the widget of a control: pictures and text, without the controls. */
  frame: control => {
    const area = control.closest(".widget-subarea");
    const shown = [...area.querySelectorAll("img, .widget-html-content")].filter(e => e.offsetParent !== null);
    return shown.map(e => e.currentSrc || e.innerHTML).join("\n");
  },

  deadLinks: () => [...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href"))
    .filter(h => h.startsWith("#") && h.length > 1 && !document.getElementById(decodeURIComponent(h.slice(1)))),

  /* Text whose contrast with what lies behind it is below `least`, as [ratio, text, tag]; folded
     answers and solutions are unfolded first. */
  faintText: least => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = colour => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3])).concat(1);
    const behind = e => {
      const layers = [];
      for (; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
      return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
    const seen = e => { let o = 1; for (; e; e = e.parentElement) o *= +getComputedStyle(e).opacity; return o; };
    const faint = [];
    const text = document.createTreeWalker(document.querySelector("article") || document.body, NodeFilter.SHOW_TEXT);
    while (text.nextNode()) {
      const e = text.currentNode.parentElement;
      if (!text.currentNode.data.trim() || !e.getClientRects().length) continue;
      if (e.closest("script, style, .headerlink, mjx-assistive-mml, .visually-hidden, button.copybtn")) continue;
      const back = behind(e), ink = rgba(getComputedStyle(e).color);
      ink[3] *= seen(e);
      const [low, high] = [light(back), light(over(ink, back))].sort((a, b) => a - b);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < least) faint.push([+ratio.toFixed(2), text.currentNode.data.trim().slice(0, 40), `${e.tagName}.${e.className}`]);
    }
    return faint;
  },
};
