"use strict";
/* Charts: what plotly.js draws, with a tooltip of our own (plain text, also for the keyboard). */
rdbench.plotly = (async () => {
  const packed = Uint8Array.from(atob(rdbench.byId("plotly").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(rdbench.element("script", { textContent: await new Response(unpacked).text() }));
  return window.Plotly;
})();

rdbench.chart = (node, describe) => {
  const { byId, element, colour, curveColour, swatch } = rdbench;
  const tooltip = byId("tooltip");
  const ring = byId("ring");
  const touch = matchMedia("(pointer: coarse)").matches;
  let described = { traces: [] };
  let at = null;

  function axis(title, extra) {
    return {
      title: { text: title, standoff: 10 },
      gridcolor: colour("grid"),
      linecolor: colour("line"),
      tickcolor: colour("line"),
      zeroline: false,
      showline: true,
      ticks: "outside",
      ticklen: 4,
      automargin: true,
      fixedrange: touch,
      ...extra,
    };
  }

  async function draw() {
    let Plotly;
    try {
      Plotly = await rdbench.plotly;
    } catch (error) {
      node.replaceChildren(element("p", { className: "notice", textContent: `No chart: this browser is too old for it (${error.message}).` }));
      return;
    }
    described = describe();
    hide();
    const traces = described.traces.map((trace) => ({
      type: "scatter",
      mode: "lines+markers",
      x: trace.x,
      y: trace.y,
      visible: trace.visible !== false,
      opacity: trace.opacity ?? 1,
      hoverinfo: "none",
      line: { color: curveColour(trace.look), width: trace.look.published ? 1.8 : 2.6, dash: trace.look.published ? "7px,4px" : "solid" },
      marker: {
        color: curveColour(trace.look),
        symbol: trace.look.symbol,
        size: trace.marked ? trace.marked.map((mark) => (mark ? 9 : 0)) : 10,
        line: { width: trace.look.published ? 1.6 : 1, color: trace.look.published ? curveColour(trace.look) : colour("panel") },
      },
    }));
    const layout = {
      paper_bgcolor: colour("panel"),
      plot_bgcolor: colour("panel"),
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("soft") },
      margin: { l: 62, r: 20, t: 22, b: 54 },
      xaxis: axis(described.x.title, described.x.axis),
      yaxis: axis(described.y.title, described.y.axis),
      showlegend: false,
      hovermode: "closest",
      hoverdistance: 28,
      dragmode: touch ? false : "zoom",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("accent") },
    };
    const settings = {
      displaylogo: false,
      responsive: true,
      displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["zoom2d", "pan2d", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: { format: "svg", filename: described.file },
    };
    const fresh = !node.data;
    await Plotly.react(node, traces, layout, settings);
    if (!fresh) return;
    node.on("plotly_hover", (event) => show(event.points[0].curveNumber, event.points[0].pointNumber));
    node.on("plotly_unhover", hide);
    node.on("plotly_relayout", hide);
  }

  function show(curve, point) {
    const trace = described.traces[curve];
    const lines = trace && trace.tell(point);
    if (!lines) return;
    at = { curve, point };
    const mark = swatch(trace.name);
    mark.style.setProperty("--c", curveColour(trace.look));
    tooltip.replaceChildren(
      element("strong", {}, mark, trace.name),
      element("dl", {}, ...lines.facts.flatMap(([name, text]) => [element("dt", { textContent: name }), element("dd", { textContent: text })])),
      ...lines.more.map((text) => element("p", { textContent: text })),
      ...(lines.command ? [element("p", {}, element("code", { textContent: lines.command }))] : []),
    );
    tooltip.hidden = false;
    /* beside the point, inside the window */
    const box = node.getBoundingClientRect();
    const { xaxis, yaxis } = node._fullLayout;
    const x = box.left + xaxis._offset + xaxis.d2p(trace.x[point]);
    const y = box.top + yaxis._offset + yaxis.d2p(trace.y[point]);
    const { offsetWidth: width, offsetHeight: height } = tooltip;
    const room = document.documentElement.clientWidth;
    const left = x + 16 + width < room - 8 ? x + 16 : x - 16 - width;
    const top = Math.max(60, Math.min(y - height / 2, innerHeight - height - 8));
    /* no room on either side, as on a phone: under the chart, all of which stays in sight */
    const narrow = left < 8;
    tooltip.style.left = `${scrollX + (narrow ? (room - width) / 2 : left)}px`;
    tooltip.style.top = `${scrollY + (narrow ? box.bottom + 6 : top)}px`;
    ring.hidden = false;
    ring.style.left = `${scrollX + x}px`;
    ring.style.top = `${scrollY + y}px`;
    ring.style.color = curveColour(trace.look);
  }

  function hide() {
    tooltip.hidden = true;
    ring.hidden = true;
    at = null;
  }

  /* Left and right go along a curve, up and down to the next one. */
  function go(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    const usable = described.traces.map((_, i) => i).filter((i) => described.traces[i].visible !== false && stops(i).length);
    if (!usable.length) return;
    const [turn, step] = moves[event.key];
    const place = at ? usable.indexOf(at.curve) : -1;
    const curve = usable[place < 0 ? 0 : (place + turn + usable.length) % usable.length];
    const points = stops(curve);
    const here = place < 0 ? -1 : points.reduce((best, j, k) => (Math.abs(j - at.point) < Math.abs(points[best] - at.point) ? k : best), 0);
    const next = here < 0 ? 0 : Math.max(0, Math.min(points.length - 1, here + step));
    show(curve, points[next]);
  }
  const stops = (i) => described.traces[i].x.map((_, j) => j).filter((j) => described.traces[i].tell(j) && described.traces[i].y[j] !== null);

  node.addEventListener("keydown", go);
  node.addEventListener("blur", hide);
  rdbench.on("theme", draw);
  rdbench.on("metric", draw);
  return draw;
};

/* 1, 2, 5, 10 ...: what a logarithmic axis is marked with. */
rdbench.logTicks = (low, high) => {
  const ticks = [];
  for (let decade = Math.floor(Math.log10(low)) - 1; decade <= Math.ceil(Math.log10(high)); decade += 1) {
    for (const factor of [1, 2, 5]) ticks.push(Number((factor * 10 ** decade).toPrecision(1)));
  }
  return { tickmode: "array", tickvals: ticks, ticktext: ticks.map(String) };
};
