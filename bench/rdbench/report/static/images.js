"use strict";
/* Every image of a curve at a rate, sorted by any column. */
(() => {
  const { data, state, byId, element, on, value, number, bytes, option, metrics } = rdbench;
  const { images, curves, columns } = data.images;
  const FIRST = 200;
  const chooser = byId("images-curve");
  const rates = byId("images-rate");
  const sort = { column: "image", falling: false };
  let all = false;

  const titles = { image: "Image", size: "Size", rate: "Rate point", bytes: "Bytes", bpp: "bpp", encode_s: "Encode (s)", decode_s: "Decode (s)" };
  const title = (name) => {
    const metric = metrics.get(name);
    return metric ? `${metric.title}${metric.unit ? ` (${metric.unit})` : ""} ${metric.arrow}` : titles[name];
  };
  const curve = () => curves[Number(chooser.value)];
  chooser.append(...curves.map((each, i) => option(each.name, i)));

  function fillRates() {
    const before = rates.value;
    const known = [...new Set(curve().rate)].sort((a, b) => a - b);
    rates.replaceChildren(option("all", "all"), ...known.map((rate) => option(String(rate), rate)));
    rates.value = known.map(String).includes(before) || before === "all" ? before : String(known[Math.floor(known.length / 2)]);
  }

  function rows() {
    const mine = curve();
    const chosen = mine.image.map((_, i) => i).filter((i) => rates.value === "all" || String(mine.rate[i]) === rates.value);
    if (sort.column === "image") return sort.falling ? chosen.reverse() : chosen;
    const sign = sort.falling ? -1 : 1;
    const key = (i) => value(mine[sort.column][i]);
    /* what has no value stands last, whichever way it is sorted */
    return chosen.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return x === y ? a - b : sign * (x < y ? -1 : 1);
    });
  }

  function head() {
    const names = ["image", "size", "rate", ...columns.map((column) => column.name)];
    return element("tr", {}, ...names.map((name) => {
      const cell = element("th", { scope: "col", className: name === "image" ? "" : "number" });
      cell.classList.toggle("chosen", name === state.metric);
      if (name === "size") {
        cell.textContent = titles.size;
        return cell;
      }
      const button = element("button", { type: "button", textContent: title(name), "data-column": name });
      button.addEventListener("click", () => {
        sort.falling = sort.column === name && !sort.falling;
        sort.column = name;
        draw();
        byId("images-table").querySelector(`[data-column="${name}"]`).focus();
      });
      if (sort.column === name) cell.setAttribute("aria-sort", sort.falling ? "descending" : "ascending");
      cell.append(button);
      return cell;
    }));
  }

  function row(i) {
    const mine = curve();
    const image = images[mine.image[i]];
    const number_ = (text) => element("td", { className: "number", textContent: text });
    const start = [element("th", { scope: "row", textContent: image.name }), number_(image.size), number_(mine.rate[i])];
    if (mine.error[i]) return element("tr", {}, ...start, element("td", { className: "error", colSpan: columns.length, textContent: mine.error[i] }));
    return element("tr", {}, ...start, ...columns.map((column) => {
      const given = mine[column.name][i];
      return number_(column.name === "bytes" ? bytes(given) : number(given, column.decimals));
    }));
  }

  function draw() {
    const found = rows();
    const shown = all ? found : found.slice(0, FIRST);
    byId("images-table").replaceChildren(element("thead", {}, head()), element("tbody", {}, ...shown.map(row)));
    byId("images-count").textContent = `${found.length} row${found.length === 1 ? "" : "s"}`;
    byId("images-more").hidden = shown.length === found.length;
    byId("images-more").textContent = `Show all ${found.length} rows`;
  }

  chooser.addEventListener("change", () => {
    fillRates();
    draw();
  });
  rates.addEventListener("change", draw);
  byId("images-more").addEventListener("click", () => {
    all = true;
    draw();
  });
  on("metric", draw);
  fillRates();
  draw();
})();
