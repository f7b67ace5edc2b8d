"use strict";
/* What every part of the page uses: the data, the chosen metric, elements, numbers, colours.
   Names come from files and people: they enter the page as text, never as markup. */
const rdbench = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const listeners = { metric: [], theme: [] };
  const metrics = new Map(data.metrics.map((metric) => [metric.name, metric]));
  const looks = new Map(data.curves.looks.map((look) => [look.name, look]));
  /* further step counts of a codec have the colour of the one that is drawn */
  for (const [name, shown] of Object.entries(data.curves.variants)) {
    if (!looks.has(name)) looks.set(name, looks.get(shown));
  }
  const state = { metric: data.metrics.length ? data.metrics[0].name : "" };

  const byId = (id) => document.getElementById(id);

  function element(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const on = (event, listener) => listeners[event].push(listener);
  const tell = (event) => listeners[event].forEach((listener) => listener());

  /* Numbers. Infinite ones come as text, as JSON has none. */
  const value = (given) => (given === "inf" ? Infinity : given === "-inf" ? -Infinity : given);
  function number(given, decimals) {
    const x = value(given);
    if (x === null || x === undefined) return "–";
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "-∞";
    return x.toFixed(decimals);
  }
  const digits = (x, count) => (x === null || x === undefined ? "–" : String(Number(Number(x).toPrecision(count))));
  const bytes = (x) => (x === null || x === undefined ? "–" : Math.round(x).toLocaleString("en"));
  const seconds = (x) => (x === null || x === undefined ? "–" : `${digits(x, 3)} s`);
  function scored(name, given) {
    const metric = metrics.get(name);
    return metric ? number(given, metric.decimals) + (metric.unit ? ` ${metric.unit}` : "") : "–";
  }

  /* Colours. A custom property that depends on the theme is only resolved where it is used. */
  const probe = element("span", { hidden: true });
  document.body.append(probe);
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const curveColour = (look) => (dark() ? look.dark : look.colour);
  function swatch(name) {
    const look = looks.get(name);
    const node = element("span", { className: "swatch" });
    if (look) paint(node, look);
    return node;
  }
  function paint(node, look) {
    node.style.setProperty("--c", `light-dark(${look.colour}, ${look.dark})`);
    node.classList.toggle("published", look.published);
  }

  function option(text, content) {
    return element("option", { value: content, textContent: text });
  }

  /* The theme: the system's until the button is pressed; then kept for the next visit where that is allowed. */
  const remembered = (() => {
    try { return localStorage.getItem("rdbench-theme"); } catch { return null; }
  })();
  if (remembered === "dark" || remembered === "light") document.documentElement.dataset.theme = remembered;
  byId("theme").addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("rdbench-theme", theme); } catch { /* a page from a file may keep nothing */ }
    tell("theme");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tell("theme"));

  /* The metric that the whole page shows. */
  const chooser = byId("metric");
  chooser.value = state.metric;
  chooser.addEventListener("change", () => {
    state.metric = chooser.value;
    tell("metric");
  });
  on("metric", () => {
    for (const part of document.querySelectorAll(".by-metric")) part.hidden = part.dataset.metric !== state.metric;
  });

  /* What the server wrote without script: colours beside names, notes behind their buttons. */
  for (const node of document.querySelectorAll(".swatch[data-curve]")) {
    const look = looks.get(node.dataset.curve);
    if (look) paint(node, look);
  }
  for (const button of document.querySelectorAll(".hint")) {
    button.addEventListener("click", () => {
      const text = button.nextElementSibling;
      text.hidden = !text.hidden;
      button.setAttribute("aria-expanded", String(!text.hidden));
    });
  }
  const links = new Map([...document.querySelectorAll(".top nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const a of links.values()) a.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-30% 0px -65%" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

  return {
    data, metrics, looks, state, byId, element, on, value, number, digits, bytes, seconds, scored,
    colour, curveColour, swatch, option,
  };
})();
