"use strict";
// The page is whole without this script. It adds filters, sorting, and the chain behind each number.
// What is shown stands in the address, after the #: what is chosen by the filters, number as opened.

const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const dialog = document.getElementById("chain");
const places = new Map(data.lines.map((line, place) => [line.key, place]));
const marked = [...document.querySelectorAll("[data-line]")]; // table rows, and squares of heat maps

const lineAt = (element) => data.lines[element.dataset.line];
const state = () => new URLSearchParams(location.hash.slice(1).includes("=") ? location.hash.slice(1) : "");

/** Make an element: its text or children, and attributes. Text is never read as HTML. */
function make(name, content, attributes = {}) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...(Array.isArray(content) ? content : [content]));
  return element;
}

function remember(changed, push = false) {
  const text = [...changed].map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2F", "/")}`);
  const address = text.length ? `#${text.join("&")}` : location.pathname + location.search;
  try {
    history[push ? "pushState" : "replaceState"](null, "", address);
  } catch {
    // in a frame without an address of its own: the page works, it only cannot be linked to
  }
}

// --- filters

const chosen = () => new URLSearchParams([...new FormData(form)].filter(([, value]) => value));

function fits(line, wanted) {
  return [...wanted].every(([name, value]) =>
    name === "method" ? line.methods.includes(value) : line[name] === value);
}

function filter() {
  const wanted = chosen();
  const shown = data.lines.filter((line) => fits(line, wanted));
  for (const element of marked) element.hidden = !fits(lineAt(element), wanted);
  const empty = (element) => !element.querySelector("[data-line]:not([hidden])");
  for (const body of document.querySelectorAll(".numbers tbody")) body.hidden = empty(body);
  for (const map of document.querySelectorAll(".map")) map.hidden = empty(map);
  for (const part of document.querySelectorAll(".maps-of, .lines .scroll, .part, section.paper")) part.hidden = empty(part);
  for (const fold of document.querySelectorAll("details:is(.lines, .fold)")) {
    fold.hidden = empty(fold);
    fold.dataset.open ??= fold.open ? "yes" : "no"; // as the page came; what is chosen is not left folded
    fold.open = [...wanted].length ? true : fold.dataset.open === "yes";
  }
  const count = (kind) => {
    const [some, all] = [shown, data.lines].map((lines) => lines.filter((line) => line.kind === kind).length);
    return `${some === all ? "" : `${some} of `}${counted(all, kind)}`;
  };
  form.querySelector("output").value = `${count("number")}, ${count("claim")}`;
  enter();
}

form.addEventListener("change", () => {
  remember(chosen());
  filter();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => {
  event.preventDefault();
  for (const select of form.querySelectorAll("select")) select.value = "";
  remember([]);
  filter();
});

// --- heat maps: one stop for the tab key each, arrows move within

function enter() {
  for (const map of document.querySelectorAll(".map")) {
    const squares = [...map.querySelectorAll("a")];
    for (const square of squares) square.tabIndex = -1;
    const first = squares.find((square) => !square.hidden);
    if (first) first.tabIndex = 0;
  }
}

const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

document.addEventListener("keydown", (event) => {
  const square = event.target.closest?.(".map a");
  if (!square || !STEPS[event.key]) return;
  event.preventDefault();
  const [down, right] = STEPS[event.key];
  const rows = square.closest("table").tBodies[0].rows;
  let row = square.closest("tr").sectionRowIndex + down;
  let column = square.closest("td").cellIndex + right;
  for (; rows[row]?.cells[column]; row += down, column += right) {
    const next = rows[row].cells[column].querySelector("a:not([hidden])");
    if (!next) continue;
    square.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    return;
  }
});

// --- sorting, within the groups of a table: up, down, and back to the paper's order

function compare(name, sign) {
  return (one, other) => {
    const [a, b] = [lineAt(one)[name], lineAt(other)[name]];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // what is missing comes last
    return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  };
}

function sort(head) {
  const now = head.getAttribute("aria-sort") ?? "none";
  const next = { none: "ascending", ascending: "descending", descending: "none" }[now];
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  if (next !== "none") head.setAttribute("aria-sort", next);
  const order = next === "none"
    ? (one, other) => one.dataset.line - other.dataset.line
    : compare(head.dataset.sort, next === "ascending" ? 1 : -1);
  for (const body of head.closest("table").tBodies) {
    body.append(...[...body.rows].filter((row) => row.dataset.line).sort(order));
  }
}

for (const head of document.querySelectorAll("th[data-sort]")) {
  const button = make("button", [...head.childNodes], { type: "button" });
  button.addEventListener("click", () => sort(head));
  head.append(button);
}

// --- chains

const short = (digest) => digest.slice(0, 12);
const figure = (value) => String(Number(value.toPrecision(6))).replace("-", "−");
const chance = (p) => (p < 1e-4 ? p.toExponential(1) : String(Number(p.toPrecision(2))));
const range = (low, high) => (low === undefined ? "" : ` [${figure(low)}, ${figure(high)}]`);
const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function duration(seconds) {
  if (seconds < 60) return `${seconds.toPrecision(3)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A list of names and texts (or elements); those without a text are left out. */
function list(pairs, name = "dl") {
  const known = pairs.filter(([, text]) => text !== undefined && text !== null && text !== "");
  return make(name, known.flatMap(([term, text]) => [make("dt", term), make("dd", text)]));
}

const code = (text) => make("code", text);

function headline(line) {
  if (line.kind === "claim") return line.text;
  return `${[line.title, line.value].filter(Boolean).join(", ")}: ${line.metric.replaceAll("_", " ")}`;
}

function said(line) {
  const spread = line.sd === undefined ? "" : ` ± ${figure(line.sd)}`;
  const known = (name, more = "") => (line[name] === undefined ? "" : figure(line[name]) + more);
  return list([
    ["verdict", line.verdict],
    ["source", line.where],
    ["experiment", line.panel],
    ["value set", line.value_set],
    ["published", known("published", line.published_sd === undefined ? "" : ` ± ${figure(line.published_sd)}`)],
    ["ours", known("mean", `${spread}${range(line.low, line.high)}, n = ${line.n}`)],
    ["ours − published", known("difference")],
    ["gain over plain training", known("gain", range(line.gain_low, line.gain_high))],
    ["published gain", known("published_gain")],
    ["effect, weakest place", known("effect", `${range(line.effect_low, line.effect_high)}, n = ${line.n}`)],
    ["p", line.p === undefined ? "" : `${chance(line.p)}, corrected ${chance(line.p_holm)}`],
    ["note", line.note],
  ]);
}

function sizes(split) {
  return Object.entries(split.sizes).map(([part, [total, classes, low, high]]) =>
    `${part} ${total} (${classes} classes, ${low === high ? low : `${low} to ${high}`} each)`).join("; ");
}

function runDetails([place, value], open) {
  const run = data.runs[place];
  const summary = [code(run.run)];
  if (run.digest === undefined) {
    return make("details", [make("summary", summary), make("p", "There is no record of it.")]);
  }
  const device = data.made[run.made].device.name;
  if (value !== null) summary.push(" = ", make("b", figure(value)));
  summary.push(` · ${run.status} · ${device} · ${duration(run.seconds)}`);
  const split = data.splits[run.split];
  const details = make("details", [
    make("summary", summary),
    list([
      ["record", code(run.record)],
      ["digest of the record", code(run.digest)],
      ["digest of its spec", code(run.spec_digest)],
      ["trained", `${run.started} to ${run.ended}`],
      ["energy", run.energy_joules === undefined ? "" : `${figure(run.energy_joules)} J`],
      ["time on the GPU", run.gpu_seconds ? duration(run.gpu_seconds) : ""],
      ["memory at most", run.peak_bytes ? `${Math.round(run.peak_bytes / 2 ** 20)} MiB` : ""],
      ["split", code(split.path)],
      ["digest of the split", code(split.digest)],
      ["drawn", `${split.kind}, seed ${split.seed}: ${sizes(split)}`],
    ]),
  ]);
  details.open = open;
  return details;
}

function madeBy(made, runs, all) {
  const { code: source, git, environment, device } = made;
  const commit = git.commit ? [code(git.commit), git.dirty ? " with changes that were not committed" : ""] : "none";
  const versions = Object.entries(environment).filter(([name]) => name !== "lock_digest");
  return list([
    ["runs", all ? "" : `${runs.length} of them`],
    ["digest of the code", [code(source.digest), ` (${source.files} files)`]],
    ["commit", commit],
    ["digest of the lock", environment.lock_digest ? code(environment.lock_digest) : "none"],
    ["versions", versions.map(([name, version]) => `${name} ${version}`).join(", ")],
    ["device", `${device.name}, ${device.precision}`],
  ]);
}

function rawFile(file) {
  const link = /^https?:\/\//.test(file.url ?? "") && make("a", file.url, { href: file.url, rel: "noreferrer" });
  return make("div", list([
    ["file", `${file.name} (${file.dataset}, ${file.what}, ${file.bytes.toLocaleString("en")} bytes)`],
    ["sha256", code(file.sha256)],
    ["address", link || file.url || "no public address"],
    ["taken from", file.source],
  ]), { class: "file" });
}

function command(line) {
  const quoted = /^[\w./:=,@%+-]+$/.test(line.id) ? line.id : `'${line.id.replaceAll("'", "'\\''")}'`;
  return `reweigh explain ${data.csv} --row ${quoted}` + (line.key === line.id ? "" : ` --where paper=${line.paper}`);
}

function chain(line) {
  const runs = line.runs.map(([place]) => data.runs[place]);
  const recorded = runs.filter((run) => run.digest !== undefined);
  const made = new Map();
  for (const run of recorded) made.set(run.made, [...(made.get(run.made) ?? []), run]);
  const splits = new Set(recorded.map((run) => run.split));
  const files = [...new Set(recorded.flatMap((run) => run.files))];
  const shut = make("button", "Close", { type: "button" });
  shut.addEventListener("click", () => dialog.close());
  const parts = [
    make("header", [make("h2", headline(line), { id: "chain-title" }), shut]),
  ];
  if (runs.length) {
    const value = line.mean ?? line.effect;
    const steps = [
      value === undefined ? line.verdict : figure(value), counted(recorded.length, "record"),
      counted(splits.size, "split"), counted(files.length, "raw file"),
    ];
    parts.push(make("ol", steps.map((step) => make("li", step)), { class: "steps" }));
  }
  parts.push(said(line));
  if (runs.length) {
    parts.push(
      make("h3", counted(runs.length, "run")),
      ...line.runs.map((run, index) => runDetails(run, index === 0)),
      make("h3", "Made by"),
      ...[...made].map(([place, some]) => madeBy(data.made[place], some, made.size === 1)),
      make("h3", counted(files.length, "raw file")),
      ...files.map((place) => rawFile(data.files[place])),
    );
  }
  parts.push(make("h3", "In a terminal"), make("pre", command(line)));
  return make("div", parts, { class: "chain" });
}

let opener = null; // where the focus was; a page that came with a number open has its line there

function open(place) {
  const line = data.lines[place];
  opener = opener ?? document.getElementById(`number=${line.key}`)?.querySelector("a");
  dialog.replaceChildren(chain(line));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

dialog.addEventListener("close", () => {
  remember(chosen());
  opener?.focus({ preventScroll: true });
  opener = null;
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside the text

document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#number="]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  opener = link;
  const place = link.closest("[data-line]").dataset.line;
  const now = chosen();
  now.set("number", data.lines[place].key);
  remember(now, true);
  open(place);
});

// --- the address

function follow() {
  const wanted = state();
  for (const select of form.querySelectorAll("select")) {
    select.value = wanted.get(select.name) ?? "";
    if (select.selectedIndex < 0) select.value = ""; // a word that this page does not know
  }
  filter();
  const place = places.get(wanted.get("number"));
  if (place !== undefined) open(place);
  else {
    if (dialog.open) dialog.close();
    if ([...chosen()].length) form.scrollIntoView();
  }
}

addEventListener("popstate", follow);
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:is(.lines, .fold, .about):not([hidden])")) fold.open = true;
});
for (const square of document.querySelectorAll(".map a")) square.title = square.getAttribute("aria-label");
for (const element of document.querySelectorAll("#filters, .js")) element.hidden = false;
follow();
