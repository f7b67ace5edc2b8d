"use strict";
/* Original and reconstructions side by side: a divider to drag, a loupe, every codec as a tile. */
(() => {
  const { data, state, byId, element, on, number, bytes, scored, swatch, option } = rdbench;
  const scenes = data.gallery;
  if (!scenes.length) return;
  const uris = JSON.parse(byId("picture-data").textContent);
  const ZOOM = 4;
  const stage = byId("stage");
  const split = byId("split");
  const pictures = { left: byId("stage-left"), right: byId("stage-right"), original: new Image() };
  const choosers = { left: byId("left"), right: byId("right") };
  const ORIGINAL = "";
  let scene = scenes[0];
  let level = scene.levels[0];
  let centre;
  /* what was chosen, kept from scene to scene where the codec is there too */
  const wanted = { left: ORIGINAL, right: null };

  const shot = (curve) => level.shots.find((each) => each.curve === curve);
  const chosen = (side) => shot(choosers[side].value);

  const thumbnails = scenes.map((each, i) => {
    const [left, top, width, height] = each.box;
    const crop = element("i", { className: "crop" });
    crop.style.left = `${(100 * left) / each.size[0]}%`;
    crop.style.top = `${(100 * top) / each.size[1]}%`;
    crop.style.width = `${(100 * width) / each.size[0]}%`;
    crop.style.height = `${(100 * height) / each.size[1]}%`;
    const whole = element("span", { className: "whole" }, element("img", { src: uris[each.thumbnail], alt: "" }), crop);
    const button = element("button", { type: "button", className: "scene", title: each.image, "aria-label": `Scene ${i + 1}: ${each.image}` }, whole);
    button.addEventListener("click", () => choose(each, each.levels[Math.min(scene.levels.indexOf(level), each.levels.length - 1)]));
    return button;
  });
  byId("scenes").append(...thumbnails);

  function choose(newScene, newLevel) {
    if (newScene !== scene || !centre) centre = { x: newScene.spot[0], y: newScene.spot[1] };
    scene = newScene;
    level = newLevel;
    thumbnails.forEach((button, i) => button.setAttribute("aria-pressed", String(scenes[i] === scene)));
    byId("levels").replaceChildren(...scene.levels.map((each) => {
      const button = element("button", { type: "button", "aria-pressed": String(each === level), textContent: `near ${number(each.bpp, 3)} bpp` });
      button.addEventListener("click", () => {
        choose(scene, each);
        byId("levels").children[scene.levels.indexOf(each)].focus();
      });
      return button;
    }));
    for (const side of ["left", "right"]) {
      choosers[side].replaceChildren(option("Original", ORIGINAL), ...level.shots.map((each) => option(each.curve, each.curve)));
    }
    choosers.left.value = wanted.left && shot(wanted.left) ? wanted.left : ORIGINAL;
    choosers.right.value = wanted.right !== null && (wanted.right === ORIGINAL || shot(wanted.right)) ? wanted.right : level.shots[0].curve;
    pictures.original.src = uris[scene.original];
    const [, , width, height] = scene.box;
    stage.style.aspectRatio = `${width} / ${height}`;
    tiles();
    show();
  }

  function tiles() {
    byId("strip").replaceChildren(...level.shots.map((each) => {
      const tile = element("button", { type: "button", className: "tile", "data-curve": each.curve },
        element("img", { src: uris[each.picture], alt: "" }),
        element("span", { className: "name" }, swatch(each.curve), each.curve),
        element("span", { textContent: `${number(each.bpp, 3)} bpp, ${bytes(each.bytes)} bytes` }),
        element("span", { className: "score" }));
      tile.addEventListener("click", () => {
        wanted.right = choosers.right.value = each.curve;
        show();
      });
      return tile;
    }));
  }

  function show() {
    for (const side of ["left", "right"]) {
      const one = chosen(side);
      const name = one ? one.curve : "Original";
      pictures[side].src = uris[one ? one.picture : scene.original];
      pictures[side].alt = `${name}, crop of ${scene.image}`;
      byId(`tag-${side}`).textContent = one ? `${name}  ${number(one.bpp, 3)} bpp` : name;
      byId(`loupe-${side}-name`).textContent = one ? `${name}, ${scored(state.metric, one.values[state.metric])}` : name;
    }
    /* the original has a loupe of its own unless it is one of the two */
    const beside = choosers.left.value !== ORIGINAL && choosers.right.value !== ORIGINAL;
    byId("loupe-first").hidden = !beside;
    byId("loupes").style.setProperty("--count", beside ? 3 : 2);
    for (const tile of byId("strip").children) {
      const one = shot(tile.dataset.curve);
      tile.setAttribute("aria-pressed", String(tile.dataset.curve === choosers.right.value));
      tile.querySelector(".score").textContent = `${rdbench.metrics.get(state.metric)?.title ?? ""} ${scored(state.metric, one.values[state.metric])}`;
    }
    const [left, top, width, height] = scene.box;
    const missing = data.curves.looks.filter((look) => !look.published && !shot(look.name)).map((look) => look.name);
    byId("scene-note").textContent =
      `${scene.image}, ${width}×${height} pixels at ${left}, ${top}. Rates and figures are the whole image's.` +
      (missing.length ? ` Without a point at this rate: ${missing.join(", ")}.` : "");
    Promise.all(Object.values(pictures).map((picture) => picture.decode().catch(() => undefined))).then(loupe);
  }

  function loupe() {
    const [, , width, height] = scene.box;
    const canvases = { original: byId("loupe-original"), left: byId("loupe-left"), right: byId("loupe-right") };
    const w = Math.min(width, canvases.left.width / ZOOM);
    const h = Math.min(height, canvases.left.height / ZOOM);
    const x = Math.round(Math.max(0, Math.min(width - w, centre.x * width - w / 2)));
    const y = Math.round(Math.max(0, Math.min(height - h, centre.y * height - h / 2)));
    for (const [name, canvas] of Object.entries(canvases)) {
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.clearRect(0, 0, canvas.width, canvas.height);
      if (pictures[name].naturalWidth) pen.drawImage(pictures[name], x, y, w, h, 0, 0, w * ZOOM, h * ZOOM);
    }
    const frame = byId("frame").style;
    frame.left = `${(100 * x) / width}%`;
    frame.top = `${(100 * y) / height}%`;
    frame.width = `${(100 * w) / width}%`;
    frame.height = `${(100 * h) / height}%`;
  }

  function divide(percent) {
    const at = Math.max(0, Math.min(100, percent));
    stage.style.setProperty("--split", `${at}%`);
    split.value = String(Math.round(at));
    split.setAttribute("aria-valuetext", `left picture to ${Math.round(at)} %`);
    byId("tag-left").hidden = at < 12;
    byId("tag-right").hidden = at > 88;
  }

  function look(x, y) {
    centre = { x: Math.max(0, Math.min(1, x)), y: Math.max(0, Math.min(1, y)) };
    loupe();
  }

  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  let dragging = false;
  stage.addEventListener("pointerdown", (event) => {
    dragging = true;
    stage.setPointerCapture(event.pointerId);
    const { x, y } = place(event);
    divide(100 * x);
    look(x, y);
  });
  stage.addEventListener("pointermove", (event) => {
    const { x, y } = place(event);
    if (dragging) divide(100 * x);
    if (dragging || event.pointerType === "mouse") look(x, y);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { dragging = false; });
  stage.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [x, y] = moves[event.key];
    look(centre.x + 0.04 * x, centre.y + 0.04 * y);
  });
  split.addEventListener("input", () => divide(Number(split.value)));
  for (const side of ["left", "right"]) {
    choosers[side].addEventListener("change", () => {
      wanted[side] = choosers[side].value;
      show();
    });
  }
  on("metric", show);
  divide(50);
  choose(scene, level);
})();
