"use strict";
/* Denoising steps: quality against steps, and against decode time, one line per rate. */
(() => {
  const { data, state, byId, element, on, value, number, digits, seconds, scored, option, metrics, curveColour } = rdbench;
  if (!data.steps.length) return;
  const chooser = byId("steps-codec");
  chooser.append(...data.steps.map((codec, i) => option(codec.name, i)));
  const change = byId("steps-change");
  const codec = () => data.steps[Number(chooser.value)];
  const lines = () => codec().metrics[state.metric] ?? [];

  /* from dark red to blue by rate: told apart on white and on black, and with any colour vision */
  const ramp = ["#8C2D62", "#C8455B", "#E08A3C", "#7FA650", "#2E8F9E", "#3C62B4"];
  const rampOnDark = ["#D56AA5", "#E8788A", "#F0A35E", "#A6CC78", "#5FC0CF", "#7C9BEB"];
  const symbols = ["circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon"];
  function look(i, count) {
    const place = count > 1 ? Math.round((i / (count - 1)) * (ramp.length - 1)) : 0;
    return { name: "", colour: ramp[place], dark: rampOnDark[place], symbol: symbols[i % symbols.length], published: false };
  }
  const called = (line) => `${number(line.bpp, 3)} bpp (${codec().rate_name} ${line.rate})`;

  function changes(line) {
    const known = line.quality.map(value);
    const first = known.find((quality) => quality !== null);
    return known.map((quality) => (quality === null ? null : quality - first));
  }

  function traces(x) {
    return lines().map((line, i) => ({
      name: called(line),
      look: look(i, lines().length),
      x: x(line),
      y: change.checked ? changes(line) : line.quality.map(value),
      tell: (j) => ({
        facts: [
          ["Steps", digits(codec().steps[j], 6)],
          [metrics.get(state.metric).title, scored(state.metric, line.quality[j])],
          ["Decode", seconds(line.decode_s[j])],
          ["Rate", `${number(line.bpp, 4)} bpp`],
          ["Images", String(line.images)],
        ],
        more: [],
        command: "",
      }),
    }));
  }

  const y = () => ({ title: (change.checked ? "Change of " : "") + metrics.get(state.metric).axis, axis: {} });
  const drawSteps = rdbench.chart(byId("steps-chart"), () => ({
    file: `steps-${state.metric}`,
    x: {
      title: "Denoising steps",
      axis: { type: "log", tickmode: "array", tickvals: codec().steps, ticktext: codec().steps.map(String) },
    },
    y: y(),
    traces: traces(() => codec().steps),
  }));
  const drawTime = rdbench.chart(byId("time-chart"), () => ({
    file: `decode-time-${state.metric}`,
    x: { title: "Decode time (seconds per image)", axis: { rangemode: "tozero" } },
    y: y(),
    traces: traces((line) => line.decode_s),
  }));

  function update() {
    byId("steps-ramp").replaceChildren(...lines().map((line, i) => {
      const mark = element("span", { className: "swatch" });
      mark.style.setProperty("--c", curveColour(look(i, lines().length)));
      return element("span", {}, mark, called(line));
    }));
    const counts = [...new Set(lines().map((line) => line.images))];
    byId("steps-note").textContent = lines().length
      ? `Means over the images that have a value at all step counts: ${counts.join(", ")}.`
      : "No image has this metric at these step counts.";
  }
  function redraw() {
    update();
    drawSteps();
    drawTime();
  }
  chooser.addEventListener("change", redraw);
  change.addEventListener("change", redraw);
  on("metric", update);
  on("theme", update);
  redraw();
})();
