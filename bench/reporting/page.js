// The page shows the runs that pass the filters, up to a number of rows and panels.
const report = JSON.parse(document.getElementById("report").textContent);
const {specifications, chapters, facets, provenance} = report;
const ROWS = 30, PANELS = 12;  // shown at first, per table and per chart
const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
// logLevel 1: errors only; an empty layer of crosses is not an error.
const options = {renderer: "svg", tooltip: {theme}, logLevel: 1,
  actions: {export: true, source: false, compiled: false, editor: false}};
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const element = (name, text = "", className = "") =>
  Object.assign(document.createElement(name), {textContent: text, className});
const formatted = n => n.toLocaleString("en");

// ---- data

const column = x => Array.isArray(x) ? x : x.at ? x.at.map(i => x.of[i]) : Array(x.n).fill(x.of[0]);
const unpack = columns => {
  const names = Object.keys(columns), values = names.map(name => column(columns[name]));
  return (values[0] ?? []).map((_, i) => Object.fromEntries(names.map((name, j) => [name, values[j][i]])));
};
const unpacked = {};
const rowsOf = name => unpacked[name] ??= unpack(report.datasets[name]);
const dataIn = part => part === null || typeof part !== "object" ? []
  : [...(part.data?.name in report.datasets ? [part.data.name] : []), ...Object.values(part).flatMap(dataIn)];
const textsOf = run => provenance.of[run].map(i => provenance.texts[i]);

// ---- filtered runs

const form = document.getElementById("filters");
const summaries = all(".runs details").map(x => x.firstElementChild.textContent);
const haystack = summaries.map(() => null);
const chosen = facets.map(() => new Set());
let search = "", selected = summaries.map(() => true);

const matches = (run, words) => {
  haystack[run] ??= [summaries[run], ...textsOf(run)].join(" ").toLowerCase();
  return words.every(word => word.test ? word.test(haystack[run]) : haystack[run].includes(word));
};
const pattern = word => {  // `lr=0.1` is neither `lr=0.15` nor `outer_lr=0.1`
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return /=.*\d$/.test(word) ? new RegExp(`(?<!\\w)${escaped}(?!\\d|\\.\\d|e-?\\d)`) : word;
};
const choose = () => {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean).map(pattern);
  const active = facets.map((facet, i) => [facet.of, chosen[i]]).filter(([, some]) => some.size);
  selected = summaries.map((_, run) => matches(run, words)
    && active.every(([of, some]) => of[run] < 0 || some.has(of[run])));
};
const isSelected = (row, chapter) => {
  const {first, cases, filtered} = chapters[chapter];
  if (!filtered) return true;
  if (row.run !== undefined) return selected[first + row.run];
  return row.case === undefined || cases[row.case].some(run => selected[first + run]);
};

// ---- tables and lists: hide rows, limit their number

const lists = [...all("tbody").map(body => ({place: body.closest(".table"), rows: [...body.rows], what: "rows"})),
  {place: document.querySelector(".runs"), rows: all(".runs details"), what: "runs"}]
  .map(list => ({...list, whole: false, runs: list.rows.map(row =>
    (row.dataset.runs ?? row.dataset.run ?? "").split(" ").filter(Boolean).map(Number))}));
for (const list of lists) {
  list.more = Object.assign(element("button", "", "more"), {type: "button", hidden: true});
  list.more.onclick = () => { list.whole = true; showRows(list); };
  list.place.append(list.more);
}
const showRows = list => {
  let n = 0;
  list.rows.forEach((row, i) => {
    const some = list.runs[i].length === 0 || list.runs[i].some(run => selected[run]);
    row.hidden = !some;
    row.toggleAttribute("data-beyond", some && (n += 1) > ROWS && !list.whole);
  });
  list.more.hidden = n <= ROWS || list.whole;
  list.more.textContent = `Show all ${formatted(n)} ${list.what}`;
  if (list.what === "rows") list.place.hidden = n === 0 && list.rows.length > 0;
};

// ---- charts: draw the rows that pass the filters

const charts = Object.entries(specifications).map(([id, specification]) => ({
  place: document.getElementById(id), specification, names: [...new Set(dataIn(specification))],
  chapter: Number(id.split("-")[1]), view: null}));
const dataFor = chart => {
  let left = 0;
  const data = chart.names.map(name => {
    const rows = rowsOf(name).filter(row => isSelected(row, chart.chapter));
    const panels = [...new Set(rows.map(row => row.condition))], drawn = new Set(panels.slice(0, PANELS));
    if (!chapters[chart.chapter].filtered || panels.length <= PANELS) return [name, rows];
    left = panels.length;
    return [name, rows.filter(row => drawn.has(row.condition))];
  });
  const own = data.filter(([name]) => ["run", "case"].some(x => x in report.datasets[name]));
  return {data, left, empty: own.length > 0 && own.every(([, rows]) => rows.length === 0)};
};
const showNote = (chart, left, empty) => {
  const figure = chart.place.closest("figure"), note = figure.querySelector(".note");
  chart.place.hidden = empty;
  chart.note = empty ? "No data match the filters."
    : left ? `${PANELS} of ${formatted(left)} panels are shown: select others with the filters.` : "";
  const own = charts.filter(x => figure.contains(x.place) && !x.place.hasAttribute("data-off"));
  note.textContent = own.map(x => x.note).find(Boolean) ?? "";
  note.hidden = note.textContent === "";
};
const draw = async chart => {
  const {data, left, empty} = dataFor(chart);
  showNote(chart, left, empty);
  if (empty) return;
  const rows = data.flatMap(([, some]) => some), room = chart.place.clientWidth;
  for (let again = 0; again < 2; again += 1) {
    const {chart: whole, panels} = fitted(chart.specification, rows, room, chart.extra ?? 90);
    // Create a new view: Vega does not update panels that lose all their rows.
    whole.datasets = Object.fromEntries(data);
    const inner = element("div");  // vega-embed sets the width of its element to that of the chart
    const {view} = await window.vegaEmbed(inner, whole, options);
    chart.view?.finalize();
    chart.view = view;
    chart.place.replaceChildren(inner);
    const before = chart.extra;
    chart.extra = Number(inner.querySelector("svg").getAttribute("width")) - panels;
    if (before !== undefined && Math.abs(before - chart.extra) < 2) break;
  }
};
let turn = 0, version = 0;
const drawAll = async () => {
  const mine = turn += 1;
  delete document.body.dataset.drawn;
  for (const chart of charts.filter(x => !x.place.hasAttribute("data-off"))) {
    if (mine !== turn) return;  // the filters or the size have changed meanwhile
    if (chart.version === version) continue;
    try { await draw(chart); } catch (error) {
      chart.place.textContent = `This chart cannot be drawn: ${error.message}`;
      throw error;
    }
    chart.version = version;
    await new Promise(resolve => setTimeout(resolve));
  }
  if (mine === turn) document.body.dataset.drawn = "";
};
let width = innerWidth, resizing;
addEventListener("resize", () => {
  clearTimeout(resizing);
  if (innerWidth !== width) resizing = setTimeout(() => { width = innerWidth; version += 1; drawAll(); }, 150);
});

// ---- several charts in one figure: the chosen options give the index of the shown chart

const choices = toggle => {
  let at = 0;
  for (const group of all(".options", toggle)) {
    const boxes = all("input", group);
    at = at * boxes.length + boxes.findIndex(box => box.checked);
  }
  all(".chart", toggle).forEach(x => x.toggleAttribute("data-off", Number(x.dataset.x) !== at));
  return drawAll();
};
window.show = id => {
  const chart = document.getElementById(id);
  if (!chart?.dataset.x) return drawAll();
  let at = Number(chart.dataset.x);
  for (const group of all(".options", chart.parentElement).reverse()) {
    const boxes = all("input", group);
    boxes[at % boxes.length].checked = true;
    at = Math.floor(at / boxes.length);
  }
  return choices(chart.parentElement);
};
all(".toggle").forEach(toggle => toggle.addEventListener("change", () => choices(toggle)));

// ---- filters, stored in the address

const apply = () => {
  choose();
  lists.forEach(showRows);
  chapters.forEach(({first, filtered}, i) => {
    const end = chapters[i + 1]?.first ?? selected.length;
    const empty = filtered && !selected.slice(first, end).some(Boolean);
    all(`[data-chapter="${i}"]`).forEach(x => { x.hidden = empty; });
  });
  if (form) showState();
  version += 1;
  return drawAll();
};
const showState = () => {
  const own = chapters.flatMap(({first, filtered}, i) =>
    filtered ? selected.slice(first, chapters[i + 1]?.first ?? selected.length) : []);
  const n = own.filter(Boolean).length, active = search !== "" || chosen.some(x => x.size);
  document.getElementById("count").value = n < own.length
    ? `${formatted(n)} of ${formatted(own.length)} runs` : `${formatted(own.length)} runs`;
  document.getElementById("reset").hidden = !active;
  all(".filtered").forEach(x => { x.hidden = !active; });
  all(".facet").forEach((place, i) => {
    place.classList.toggle("on", chosen[i].size > 0);
    place.querySelector(".chosen").textContent =
      chosen[i].size ? `${chosen[i].size} of ${facets[i].values.length}` : "";
    all("input", place).forEach(box => { box.checked = chosen[i].has(Number(box.value)); });
  });
};
const remember = () => {
  const words = new URLSearchParams();
  facets.forEach((facet, i) => chosen[i].forEach(x => words.append(facet.name, facet.values[x])));
  if (search) words.set("search", search);
  history.replaceState(null, "", words.size ? `#${words}` : location.pathname + location.search);
};
const recall = () => {
  const words = new URLSearchParams(location.hash.slice(1));
  facets.forEach((facet, i) => {
    const places = words.getAll(facet.name).map(x => facet.values.indexOf(x)).filter(x => x >= 0);
    chosen[i] = new Set(places);
  });
  search = words.get("search") ?? "";
  if (form) document.getElementById("search").value = search;
};
if (form) {
  form.hidden = false;
  let waiting;
  form.addEventListener("input", event => {
    const facet = event.target.closest(".facet");
    if (facet) {
      const some = chosen[facet.dataset.facet], value = Number(event.target.value);
      event.target.checked ? some.add(value) : some.delete(value);
    } else search = event.target.value.trim();
    delete document.body.dataset.drawn;
    clearTimeout(waiting);
    waiting = setTimeout(() => { remember(); apply(); }, facet ? 0 : 200);
  });
  form.addEventListener("reset", event => {
    event.preventDefault();
    search = document.getElementById("search").value = "";
    chosen.forEach(x => x.clear());
    remember();
    apply();
  });
  form.addEventListener("submit", event => event.preventDefault());
  const close = but => all(".facet[open]").forEach(x => { if (x !== but) x.open = false; });
  document.addEventListener("click", event => close(event.target.closest(".facet")));
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    all(".facet[open] > summary").forEach(x => x.focus());
    close();
  });
}
all("header a").forEach(link => link.addEventListener("click", event => {
  event.preventDefault();  // the fragment of the address holds the filters
  if (link.dataset.shows) show(link.dataset.shows);
  document.querySelector(link.getAttribute("href")).scrollIntoView();
}));
addEventListener("hashchange", () => { recall(); apply(); });

// ---- provenance, rendered when it is opened

const copied = async (text, button) => {
  try { await navigator.clipboard.writeText(text); } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    document.execCommand("copy");
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
};
const write = place => {
  if (place.childElementCount > 1) return;
  const list = element("dl"), texts = textsOf(Number(place.dataset.run));
  for (let i = 0; i < texts.length; i += 2) {
    const [label, text] = texts.slice(i, i + 2), value = element("dd");
    if (label === "command") {
      const button = Object.assign(element("button", "copy", "copy"), {type: "button"});
      button.onclick = () => copied(text, button);
      value.append(element("code", text), button);
    } else value.textContent = text;
    list.append(element("dt", label), value);
  }
  place.append(list);
};
all(".runs details").forEach(place => place.addEventListener("toggle", () => { if (place.open) write(place); }));

recall();
apply();
