"use strict";
/* Rate-distortion curves: the chart, its legend, and its points as a table. */
(() => {
  const { data, state, byId, element, on, value, number, bytes, seconds, scored, swatch, metrics } = rdbench;
  const { looks, charts } = data.curves;
  const hidden = new Set();
  const logarithmic = byId("log-rate");
  let pointed = null;
  let chosenLog = null;

  const chart = () => charts[state.metric];
  const measured = () => (chart()?.lines ?? []).filter((line) => !line.marked);
  const lowest = () => Math.min(...measured().map((line) => line.bpp[0]));
  const canBeLog = () => lowest() > 0 && Number.isFinite(lowest());
  const isLog = () => canBeLog() && (chosenLog ?? chart().log);

  function tell(line, j) {
    if (line.marked) {
      if (!line.marked[j]) return null;
      const look = rdbench.looks.get(line.curve);
      const facts = [["Rate", `${number(line.bpp[j], 4)} bpp`], [metrics.get(state.metric).title, scored(state.metric, line.quality[j])]];
      return { facts, more: ["Published, not measured here", look.settings].filter(Boolean), command: "" };
    }
    const of = line.images < line.attempted ? ` of ${line.attempted}` : "";
    return {
      facts: [
        [metrics.get(state.metric).title, scored(state.metric, line.quality[j])],
        ["Rate", `${number(line.bpp[j], 4)} bpp`],
        ["Mean size", `${bytes(line.bytes[j])} bytes`],
        [line.rate_name, line.rate[j]],
        ["Images", `${line.images}${of}`],
        ["Encode, decode", `${seconds(line.encode_s[j])}, ${seconds(line.decode_s[j])}`],
      ],
      more: [rdbench.looks.get(line.curve).settings].filter(Boolean),
      command: line.command ? `${line.command} ${line.rate[j]}` : "",
    };
  }

  function describe() {
    const { lines, quality_range } = chart() ?? { lines: [], quality_range: [0, 1] };
    const low = lowest();
    const high = Math.max(...measured().map((line) => line.bpp.at(-1)));
    const x = isLog()
      ? { type: "log", range: [Math.log10(low) - 0.05, Math.log10(high) + 0.04], ...rdbench.logTicks(low, high) }
      : !Number.isFinite(low) ? { type: "linear" }
      : { type: "linear", range: [Math.max(0, low - 0.06 * (high - low)), high + 0.03 * (high - low)], tickmode: "auto" };
    return {
      file: `rd-${state.metric}`,
      x: { title: isLog() ? "Rate (bits per pixel, logarithmic)" : "Rate (bits per pixel)", axis: x },
      y: { title: metrics.get(state.metric)?.axis ?? "", axis: { range: quality_range } },
      traces: lines.map((line) => ({
        name: line.curve,
        look: rdbench.looks.get(line.curve),
        x: line.bpp,
        y: line.quality.map(value),
        marked: line.marked,
        visible: !hidden.has(line.curve),
        opacity: pointed && pointed !== line.curve ? 0.18 : 1,
        tell: (j) => tell(line, j),
      })),
    };
  }

  const draw = rdbench.chart(byId("rd-chart"), describe);

  const chips = looks.map((look) => {
    const chip = element("button", { type: "button", className: "chip", "aria-pressed": "true" }, swatch(look.name), look.name);
    chip.classList.toggle("published", look.published);
    chip.addEventListener("click", () => {
      if (!hidden.delete(look.name)) hidden.add(look.name);
      pointed = null;
      update();
    });
    /* pointing at a name brings out its curve */
    const point = (name) => () => {
      if (hidden.has(look.name)) return;
      pointed = name;
      draw();
    };
    if (matchMedia("(hover: hover)").matches) {
      chip.addEventListener("mouseenter", point(look.name));
      chip.addEventListener("mouseleave", point(null));
    }
    return chip;
  });
  byId("legend").append(...chips);

  function table() {
    const metric = metrics.get(state.metric);
    const heads = ["Curve", "Rate point", "Images", "bpp", "Mean bytes", `${metric.title} ${metric.arrow}`, "Encode", "Decode"];
    const rows = measured().filter((line) => !hidden.has(line.curve)).flatMap((line) =>
      line.bpp.map((bpp, j) =>
        element("tr", {},
          element("th", { scope: "row" }, swatch(line.curve), line.curve),
          ...[`${line.rate_name} ${line.rate[j]}`, line.images, number(bpp, 4), bytes(line.bytes[j]), scored(state.metric, line.quality[j]), seconds(line.encode_s[j]), seconds(line.decode_s[j])]
            .map((text) => element("td", { className: "number", textContent: text })))));
    byId("points-table").replaceChildren(
      element("thead", {}, element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", className: i ? "number" : "", textContent: text })))),
      element("tbody", {}, ...rows));
  }

  function update() {
    const here = new Set(chart()?.lines.map((line) => line.curve));
    looks.forEach((look, i) => {
      chips[i].setAttribute("aria-pressed", String(!hidden.has(look.name)));
      chips[i].hidden = !here.has(look.name);
    });
    byId("show-all").hidden = !hidden.size;
    logarithmic.checked = isLog();
    logarithmic.disabled = !canBeLog();
    byId("rd-note").textContent = chart() ? chart().note : "No image has this metric at every rate.";
    if (byId("points").open && chart()) table();
    draw();
  }

  logarithmic.addEventListener("change", () => {
    chosenLog = logarithmic.checked;
    update();
  });
  byId("show-all").addEventListener("click", () => {
    hidden.clear();
    update();
  });
  byId("points").addEventListener("toggle", update);
  on("metric", update);
  update();
})();
