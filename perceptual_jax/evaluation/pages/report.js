/* The list: filtered, sorted, drawn in pieces; and the picture that is chosen in it. */

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const PIECE = 100;
const state = {sort: null, down: false, chosen: null, order: [], drawn: 0, left: null, right: null};

const restored = (row) => row.pictures.find((p) => p.kind === "restored");
const other = (row, label) => row.pictures.find((p) => p.kind === "other" && p.label === label);
const valueOf = (row, key) => restored(row)?.values?.[key] ?? null;
const sum = (a, b) => a === null || a === undefined || b === null || b === undefined ? null : a - b;

const kept = (() => {
  try { return window.localStorage; } catch { return null; }
})();

/* Filtering: words that must occur, and conditions such as total<2. */
function matches(row) {
  if ($("status").value && row.status !== $("status").value) return false;
  if ($("term").value && row.term !== $("term").value) return false;
  const text = [row.name, row.message, row.term, ...row.notes].join(" ").toLowerCase();
  return $("query").value.toLowerCase().split(/\s+/).filter(Boolean).every((word) => {
    const condition = /^(.+?)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(word);
    const column = condition && data.columns.find((c) => c.label.toLowerCase().startsWith(condition[1]));
    if (!column) return text.includes(word);
    const value = valueOf(row, column.key), bound = Number(condition[3]);
    if (value === null) return false;
    const tests = {"<": value < bound, ">": value > bound, "<=": value <= bound, ">=": value >= bound};
    return tests[condition[2]] ?? Math.abs(value - bound) <= 5e-4 * Math.max(Math.abs(bound), 1);
  });
}

function compare(a, b) {
  const by = $("by").value;
  const of = (row) => {
    if (state.sort === "name") return row.name;
    const value = valueOf(row, state.sort);
    return by === "" ? value : sum(value, other(row, by)?.values?.[state.sort]);
  };
  const [x, y] = [of(a), of(b)];
  if (x === null || y === null) return (x === null) - (y === null);
  const sign = state.down ? -1 : 1;
  return sign * (typeof x === "string" ? x.localeCompare(y, undefined, {numeric: true}) : x - y);
}

function refresh() {
  state.order = data.rows.filter(matches);
  if (state.sort !== null) state.order.sort(compare);
  $("counts").textContent = `${state.order.length} of ${data.rows.length} pictures, ${data.summary}`;
  drawHeads();
  $("rows").replaceChildren();
  state.drawn = 0;
  drawMore();
  if (!state.order.includes(state.chosen)) choose(state.order[0] ?? null, {open: false});
}

const visible = () => data.columns.filter((column) => !column.hidden);

function drawHeads() {
  const head = (key, text, title) => {
    const button = make("button", {type: "button", title, textContent: text});
    if (state.sort === key) button.append(state.down ? " ▾" : " ▴");
    button.addEventListener("click", () => {
      state.down = state.sort === key ? !state.down : key !== "name";
      state.sort = key;
      refresh();
      $("heads").querySelector("[aria-sort] button")?.focus();
    });
    const cell = make("th", {scope: "col"}, button);
    if (state.sort === key) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    return cell;
  };
  const hints = {1: ", higher is better", "-1": ", lower is better"};
  $("heads").replaceChildren(head("name", "picture", "sort by name"), ...visible().map((column) => {
    const unit = column.unit ? ` in ${column.unit}` : "";
    return head(column.key, column.label, `${column.title}${unit}${hints[column.better] ?? ""}; sort`);
  }));
}

function drawMore() {
  const piece = state.order.slice(state.drawn, state.drawn + PIECE);
  $("rows").append(...piece.map(drawRow));
  state.drawn += piece.length;
  const left = state.order.length - state.drawn;
  $("more").textContent = left ? `${left} more` : state.order.length ? "" : "no picture fits the filter";
  if (left) watcher.observe($("more"));
}

const watcher = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  watcher.unobserve($("more"));
  drawMore();
}, {rootMargin: "600px"});

function drawRow(row) {
  const who = make("div", {className: "who"});
  for (const picture of [row.pictures.find((p) => p.kind === "given"), restored(row)]) {
    const tiny = picture?.kind === "given" ? "pixels" : "";
    who.append(picture
      ? make("img", {src: picture.thumb ?? picture.src, alt: "", loading: "lazy", className: tiny})
      : make("span", {className: "none"}));
  }
  const label = make("span", {textContent: row.name});
  if (row.status !== "OK") label.append(make("span", {className: "failed", textContent: row.message}));
  who.append(label);
  const cells = !restored(row) ? [] : visible().map((column) => {
    const cell = make("td", {textContent: shown(valueOf(row, column.key))});
    for (const name of data.others) {
      const there = other(row, name)?.values?.[column.key];
      if (there !== undefined) cell.append(make("small", {title: name, textContent: shown(there)}));
    }
    return cell;
  });
  const span = cells.length ? 1 : visible().length + 1;
  const line = make("tr", {}, make("td", {colSpan: span}, who), ...cells);
  line.setAttribute("aria-selected", row === state.chosen);
  line.addEventListener("click", () => choose(row));
  row.line = line;
  return line;
}

/* The comparison. */
const stage = makeStage($("stage"), $("divider"), (scale) => {
  $("reset").textContent = `${Math.round(100 * scale)} %`;
});

function choose(row, {open = true} = {}) {
  state.chosen?.line?.setAttribute("aria-selected", "false");
  state.chosen = row;
  $("detail").hidden = !row;
  if (!row) return;
  while (!row.line?.isConnected && state.drawn < state.order.length) drawMore();
  row.line?.setAttribute("aria-selected", "true");
  if (open) {
    document.body.classList.add("open");
    row.line?.scrollIntoView({block: "nearest"});
    history.replaceState(null, "", `#${encodeURIComponent(row.name.toWellFormed?.() ?? row.name)}`);
  }
  $("name").textContent = row.name;
  $("message").textContent = row.status === "OK" ? "" : `${row.status}: ${row.message}`;
  $("compare").hidden = !row.pictures.length;
  for (const [side, usual] of [["left", "given"], ["right", "restored"]]) {
    const options = row.pictures.map((p, i) => make("option", {value: i, textContent: p.label}));
    $(side).replaceChildren(...options);
    let at = row.pictures.findIndex((p) => p.label === state[side]);
    if (at < 0) at = row.pictures.findIndex((p) => p.kind === usual);
    $(side).value = Math.max(at, 0);
  }
  drawFacts(row);
  drawPair();
}

function drawPair() {
  const row = state.chosen;
  if (!row) return;
  const [left, right] = ["left", "right"].map((side) => row.pictures[$(side).value]);
  stage.show("left", left, $("smooth").checked);
  stage.show("right", right, $("smooth").checked);
  $("stage").setAttribute("aria-label", `${left?.label ?? "none"} beside ${right?.label ?? "none"}`);
  $("legend").textContent = [left, right].filter((p) => p?.legend).map((p) => p.legend).join("; ");
  drawValues(row);
  const drawn = right?.curves ? right : left?.curves ? left : restored(row);
  drawCurves($("curves"), drawn, drawn === right ? left : null);
}

function drawValues(row) {
  const pictures = row.pictures.filter((p) => p.values);
  const columns = data.columns.filter((c) => pictures.some((p) => c.key in p.values));
  const head = make("tr", {}, make("th"), ...pictures.map((p) => make("th", {scope: "col", textContent: p.label})));
  const lines = columns.map((column) => {
    const values = pictures.map((p) => p.values[column.key]);
    const numbers = values.filter((v) => typeof v === "number");
    const best = column.better > 0 ? Math.max(...numbers) : column.better < 0 ? Math.min(...numbers) : null;
    const unit = column.unit ? `, ${column.unit}` : "";
    return make("tr", {}, make("td", {textContent: column.label + unit, title: column.title}), ...values.map((value) =>
      make("td", {
        textContent: shown(value),
        className: value === best && numbers.some((v) => v !== best) ? "best" : "",
      })));
  });
  $("values").replaceChildren(...(columns.length ? [head, ...lines] : []));
}

function facts(target, pairs) {
  target.replaceChildren(...pairs.filter(([, value]) => value).flatMap(([name, value]) =>
    [make("dt", {textContent: name}), make("dd", {textContent: value})]));
}

function drawFacts(row) {
  const sizes = row.size ? `${row.size.join(" × ")} px` : "";
  const used = row.used && String(row.used) !== String(row.size) ? `, restored from ${row.used.join(" × ")}` : "";
  facts($("facts"), [
    ["input", row.path], ["size", sizes + used],
    ["data term", row.term && `${row.term} (${row.reason})`],
    ...row.notes.map((note) => ["note", note]),
  ]);
}

/* Controls. */
function setUp() {
  $("title").textContent = data.title;
  facts($("about").querySelector("dl"), data.about);
  $("about").querySelector("pre").textContent = data.config;
  const fill = (id, first, values) => {
    $(id).append(make("option", {value: "", textContent: first}));
    $(id).append(...values.map(([value, text]) => make("option", {value, textContent: text})));
    $(id).hidden = values.length < (id === "by" ? 1 : 2);
    $(id).addEventListener("change", refresh);
  };
  const distinct = (key) => [...new Set(data.rows.map((row) => row[key]).filter(Boolean))].sort();
  fill("status", "any status", distinct("status").map((x) => [x, x]));
  fill("term", "any data term", distinct("term").map((x) => [x, x]));
  fill("by", "sort by value", data.others.map((x) => [x, `sort by value − ${x}`]));
  $("columns").querySelector("div").append(...data.columns.map((column) => {
    const box = make("input", {type: "checkbox", checked: !column.hidden});
    box.addEventListener("change", () => {
      column.hidden = !box.checked;
      refresh();
    });
    return make("label", {title: column.title}, box, ` ${column.label}`);
  }));
  $("columns").hidden = !data.columns.length;
  $("query").addEventListener("input", refresh);
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  for (const side of ["left", "right"]) {
    $(side).addEventListener("change", () => {
      state[side] = state.chosen.pictures[$(side).value].label;
      drawPair();
    });
  }
  const clicks = {
    in: () => stage.zoom(1.5), out: () => stage.zoom(1 / 1.5), reset: stage.reset, smooth: drawPair,
    next: () => walk(1), previous: () => walk(-1), back, keys: () => $("help").showModal(), theme,
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  setTheme(kept?.getItem("perceptual_jax theme") ?? "system");
  document.addEventListener("keydown", onKey);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = `theme: ${name}`;
}

function theme() {
  const names = ["system", "light", "dark"];
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % 3];
  setTheme(next);
  try { kept?.setItem("perceptual_jax theme", next); } catch { /* a page may have no storage */ }
}

function walk(by) {
  const at = state.order.indexOf(state.chosen) + by;
  if (at >= 0 && at < state.order.length) choose(state.order[at]);
}

function back() {
  document.body.classList.remove("open");
  state.chosen?.line?.scrollIntoView({block: "nearest"});
}

function pick(side, at) {
  if (at < 0 || !state.chosen?.pictures[at]) return;
  $(side).value = at;
  $(side).dispatchEvent(new Event("change"));
}

function onKey(event) {
  const writing = event.target.closest("input:not([type=checkbox]), select, textarea, dialog");
  if (event.key === "Escape" && !event.target.closest("dialog")) {
    event.target.blur();
    back();
  }
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const map = (word) => pick("right", state.chosen?.pictures.findIndex((p) => p.kind === "map" && p.label.startsWith(word)));
  const pressing = event.target.closest("button, summary, input");
  const actions = {
    j: () => walk(1), ArrowDown: () => walk(1), k: () => walk(-1), ArrowUp: () => walk(-1),
    ArrowLeft: () => stage.step(-0.05), ArrowRight: () => stage.step(0.05), " ": stage.flip,
    "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5), "-": () => stage.zoom(1 / 1.5), 0: stage.reset,
    m: () => map("likelihood"), s: () => map("spread"),
    "/": () => $("query").focus(), "?": () => $("help").showModal(),
  };
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (actions[event.key]) {
    if (pressing && event.key === " ") return;
    actions[event.key]();
  } else if (digit) pick(event.shiftKey ? "left" : "right", Number(digit[1]) - 1);
  else return;
  event.preventDefault();
}

setUp();
refresh();
const wanted = (() => {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
})();
const first = wanted && data.rows.find((row) => row.name === wanted);
if (first) choose(first);
