"use strict";
/* Two pictures with a divider between them, zoomed and moved together; and curves of losses. */

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function shown(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(2);
  return size >= 100 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toPrecision(3);
}

/* The stage: `at` is the divider from 0 to 1; a point p of a picture lies at scale * p + move. */
function makeStage(stage, range, told) {
  const panes = {left: stage.querySelector(".left"), right: stage.querySelector(".right")};
  const line = stage.querySelector(".divider");
  const pointers = new Map();
  let at = 0.5, scale = 1, move = [0, 0], dragging = null, before = null;

  function draw() {
    panes.left.style.clipPath = `inset(0 ${100 - 100 * at}% 0 0)`;
    line.style.left = `${100 * at}%`;
    for (const pane of Object.values(panes)) {
      pane.firstElementChild.style.transform = `translate(${100 * move[0]}%, ${100 * move[1]}%) scale(${scale})`;
    }
    stage.classList.toggle("zoomed", scale > 1);
    range.value = Math.round(1000 * at);
    told(scale);
  }
  function divide(to) {
    at = Math.min(Math.max(to, 0), 1);
    draw();
  }
  function shift(x, y) {
    move = [move[0] + x, move[1] + y].map((m) => Math.min(Math.max(m, 1 - scale), 0));
    draw();
  }
  function zoom(factor, x = 0.5, y = 0.5) {
    const next = Math.min(Math.max(scale * factor, 1), 32);
    const fixed = [x - (x - move[0]) * next / scale, y - (y - move[1]) * next / scale];
    scale = next;
    move = fixed;
    shift(0, 0);
  }
  function reset() {
    [scale, move] = [1, [0, 0]];
    draw();
  }
  function place(event) {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  function spread() {
    const [a, b] = [...pointers.values()];
    return {x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, far: Math.hypot(a[0] - b[0], a[1] - b[1])};
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const here = place(event);
    pointers.set(event.pointerId, here);
    stage.setPointerCapture(event.pointerId);
    const near = Math.abs(here[0] - at) * stage.clientWidth < 22;
    dragging = pointers.size > 1 ? "pinch" : scale === 1 || near ? "divider" : "picture";
    if (pointers.size > 1) before = spread();
    else if (dragging === "divider" && event.pointerType === "mouse") divide(here[0]);
  });
  stage.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const here = place(event);
    pointers.set(event.pointerId, here);
    if (dragging === "divider") divide(here[0]);
    else if (dragging === "picture") shift(here[0] - last[0], here[1] - last[1]);
    else if (pointers.size === 2) {
      const now = spread();
      zoom(now.far / Math.max(before.far, 1e-3), now.x, now.y);
      shift(now.x - before.x, now.y - before.y);
      before = now;
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      dragging = null;
    });
  }
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...place(event));
  }, {passive: false});
  stage.addEventListener("dblclick", (event) => scale > 1 ? reset() : zoom(4, ...place(event)));
  range.addEventListener("input", () => divide(range.value / 1000));

  function show(side, picture, smooth) {
    const image = panes[side].firstElementChild;
    image.hidden = !picture;
    if (!picture) return;
    if (image.getAttribute("src") !== picture.src) image.src = picture.src;
    image.alt = picture.label;
    image.classList.toggle("pixels", !smooth && picture.kind !== "restored");
  }
  draw();
  return {show, zoom, reset, step: (by) => divide(at + by), flip: () => divide(at < 0.5 ? 1 : 0)};
}

/* One small chart for each term: the picture on the right drawn, the one on the left dashed. */
function drawCurves(target, picture, beside) {
  target.replaceChildren();
  for (const [name, values] of Object.entries(picture?.curves ?? {})) {
    const other = beside?.curves?.[name];
    const all = [...values, ...(other ?? [])].filter((v) => v !== null);
    if (!all.length) continue;
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const logarithmic = low > 0 && high / low > 20;
    const level = logarithmic ? Math.log : (v) => v;
    const span = level(high) - level(low) || 1;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    const add = (tag, attributes) => {
      const element = document.createElementNS(svg.namespaceURI, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      svg.append(element);
    };
    const path = (series) => {
      let text = "", pen = "M";
      series.forEach((value, i) => {
        if (value === null) { pen = "M"; return; }
        const x = 100 * i / Math.max(series.length - 1, 1);
        text += `${pen}${x.toFixed(2)} ${(98 - 96 * (level(value) - level(low)) / span).toFixed(2)}`;
        pen = "L";
      });
      return text;
    };
    const best = 100 * picture.best_step / Math.max(picture.steps - 1, 1);
    add("line", {x1: best, x2: best, y1: 0, y2: 100});
    if (other) add("path", {d: path(other), class: "beside"});
    add("path", {d: path(values)});
    const kept = values.filter((v) => v !== null);
    const rest = `${shown(kept[0])} → ${shown(kept.at(-1))}${logarithmic ? ", log" : ""}`;
    const readout = make("span", {className: "note", textContent: rest});
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      const value = values[Math.round(part * (values.length - 1))];
      readout.textContent = `step ${Math.round(part * (picture.steps - 1))}: ${shown(value)}`;
    });
    svg.addEventListener("pointerleave", () => { readout.textContent = rest; });
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${name} over ${picture.steps} steps: ${rest}`);
    target.append(make("figure", {}, make("figcaption", {}, make("b", {textContent: name}), readout), svg));
  }
}
