"use strict";
/* One rater's way through a study: the order and the sides are drawn once, answers are kept. */

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SLOT = `perceptual_jax study ${data.study}`;
const QUICK_MS = 250; // a second tap on the same place is no answer to the next pair
const trials = new Map(data.trials.map((trial) => [trial.id, trial]));
let session = null, shownAt = 0, ready = false;

/* Mulberry32, a small generator of numbers in [0, 1), so that a seed tells the whole order. */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(items, random) {
  const list = [...items];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

/* The order of the trials, and which picture is on the left: each of the two in half of them. */
function planOf(seed) {
  const random = generator(seed);
  const order = shuffled(trials.keys(), random);
  const sides = shuffled(order.map((_, i) => i % 2), random);
  return order.map((id, i) => ({id, left: sides[i]}));
}

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(SLOT));
    return found && Array.isArray(found.answers) && found.answers.every((a) => trials.has(a.trial)) ? found : null;
  } catch { return null; }
}

function keep() {
  try { localStorage.setItem(SLOT, JSON.stringify(session)); } catch { /* a page may have no storage */ }
}

function newSession() {
  const [seed, a, b] = crypto.getRandomValues(new Uint32Array(3));
  const rater = [a, b].map((n) => n.toString(16).padStart(8, "0")).join("");
  return {rater, name: "", seed, started: new Date().toISOString(), answers: []};
}

function show(id) {
  for (const part of ["intro", "trial", "end"]) $(part).hidden = part !== id;
}

async function next() {
  ready = false;
  const at = session.answers.length, plan = planOf(session.seed);
  if (at === plan.length) return finish();
  show("trial");
  $("pair").classList.add("waiting");
  for (const side of ["left", "right"]) $(side).classList.remove("chosen");
  $("progress").max = plan.length;
  $("progress").value = at;
  $("count").textContent = `${at + 1} of ${plan.length}`;
  $("undo").disabled = at === 0;
  const {id, left} = plan[at], trial = trials.get(id);
  const images = ["left", "right"].map((side) => $(side).firstElementChild);
  images[0].src = trial.pictures[left];
  images[1].src = trial.pictures[1 - left];
  $("reference").hidden = !trial.reference;
  if (trial.reference) $("reference").firstElementChild.src = trial.reference;
  // Both appear at once, so that neither is seen first.
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  if (session.answers.length !== at) return;
  $("pair").classList.remove("waiting");
  shownAt = performance.now();
  ready = true;
}

function answer(side) {
  const seconds = (performance.now() - shownAt) / 1000;
  if (!ready || seconds < QUICK_MS / 1000 || (side === null && !data.ties)) return;
  ready = false;
  const {id, left} = planOf(session.seed)[session.answers.length];
  const choice = side === null ? null : side === "left" ? left : 1 - left;
  if (side) $(side).classList.add("chosen");
  session.answers.push({trial: id, choice, left, seconds: Math.round(1000 * seconds) / 1000});
  keep();
  setTimeout(next, 120);
}

function undo() {
  if (!session.answers.length || !ready) return;
  session.answers.pop();
  keep();
  next();
}

function checksum(text) {
  let crc = -1;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ((crc ^ -1) >>> 0).toString(16).padStart(8, "0");
}

function exported() {
  const {rater, name, seed, started, answers} = session;
  const parts = answers.map((a) => `${a.trial}:${a.choice ?? "-"}:${a.left}`);
  const check = checksum([data.study, rater, ...parts].join("|"));
  const header = {format: data.format, version: data.version, study: data.study};
  return JSON.stringify({...header, rater, name, seed, started, finished: session.finished, answers, check}, null, 1);
}

function finish() {
  session.finished ??= new Date().toISOString();
  keep();
  $("text").value = exported();
  show("end");
  $("save").focus();
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported()], {type: "application/json"}));
  link.download = `answers-${data.study}-${session.rater}.json`;
  link.click();
  $("saved").textContent = `saved as ${link.download}`;
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("text").value);
    $("saved").textContent = "copied";
  } catch {
    $("text").select();
    $("saved").textContent = "the text is selected; copy it from there";
  }
}

function start() {
  session.name = $("rater").value.trim();
  keep();
  next();
}

function begin() {
  session = load() ?? newSession();
  $("rater").value = session.name;
  $("start").textContent = session.answers.length ? "go on" : "start";
  if (session.answers.length === data.trials.length) finish();
  else show("intro");
}

function again() {
  session = newSession();
  keep();
  begin();
}

document.body.classList.toggle("forced", !data.ties);
$("number").textContent = data.trials.length;
for (const place of document.querySelectorAll(".question")) place.textContent = data.question;
const clicks = {
  start, undo, save, copy, again, same: () => answer(null), left: () => answer("left"), right: () => answer("right"),
};
for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || $("trial").hidden) return;
  const actions = {
    ArrowLeft: () => answer("left"), 1: () => answer("left"), ArrowRight: () => answer("right"),
    2: () => answer("right"), ArrowDown: () => answer(null), 0: () => answer(null), Backspace: undo,
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
});
begin();
