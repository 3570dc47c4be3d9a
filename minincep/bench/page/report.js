// The page: what the reader chose, and each part drawn anew from it.

const report = JSON.parse(document.getElementById("data").textContent);
const rows = report.rows.map((values, index) => {
  const row = Object.fromEntries(report.fields.map((field, place) => [field, values[place]]));
  const words = [row.op, row.variant, row.label, row.path, ...Object.keys(row.networks)];
  return { ...row, index, search: words.join(" ").toLowerCase() };
});
const ENGINES = new Set(["network", "training"]);
const isKernel = (row) => !ENGINES.has(row.op) && row.op !== "step";
const filters = document.getElementById("filters");
const tip = document.getElementById("tip");

function distinct(values) {
  return [...new Set(values)];
}

// --- filters -----------------------------------------------------------------------------------

const choices = {
  op: distinct(rows.map((row) => row.op)),
  network: distinct(rows.flatMap((row) => Object.keys(row.networks))).sort(collator.compare),
  threads: distinct(rows.map((row) => String(row.threads))).sort(collator.compare),
  cache: distinct(rows.map((row) => row.cache)),
  variant: distinct(rows.map((row) => row.variant)),
};

function fillFilters() {
  for (const [name, values] of Object.entries(choices)) {
    const options = values.map((value) => element("option", { value }, value));
    filters.elements[name].append(element("option", { value: "" }, "all"), ...options);
  }
}

// All words somewhere in a row; in quotes, the name of one layer.
function contains(row, search) {
  if (search === `"${row.label}"`) return true;
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => row.search.includes(word));
}

function matches(row) {
  const chosen = (name) => filters.elements[name].value;
  return (
    ["op", "threads", "cache", "variant"].every(
      (name) => !chosen(name) || String(row[name]) === chosen(name),
    ) &&
    (!chosen("network") || Object.hasOwn(row.networks, chosen("network"))) &&
    contains(row, chosen("text"))
  );
}

// How many layers have the shape, in the chosen network or in all; a shape of none counts once.
function layersOf(row) {
  const network = filters.elements.network.value;
  if (network) return Object.hasOwn(row.networks, network) ? row.networks[network] : 0;
  return Object.values(row.networks).reduce((sum, count) => sum + count, 0) || 1;
}

// --- parts -------------------------------------------------------------------------------------

// Rows that may be compared: one operation, number of threads, state of the caches.
function groups(found) {
  const parts = new Map();
  for (const row of found.filter(isKernel)) {
    const name = `${row.op}, ${threadCount(row.threads)}, caches ${row.cache}`;
    if (!parts.has(name)) parts.set(name, []);
    parts.get(name).push(row);
  }
  return [...parts];
}

function ladderOf(row) {
  const network = filters.elements.network.value;
  return report.ladders.find(
    (one) =>
      one.op === row.op &&
      one.threads === row.threads &&
      one.cache === row.cache &&
      one.network === network,
  );
}

function figure(title, ...content) {
  return element("div", { class: "figure" }, element("h3", {}, title), ...content);
}

function roofOf(row) {
  return report.roofs.find((roof) => roof.threads === row.threads);
}

function ladders(found, width) {
  return groups(found).map(([title, part]) => {
    const ladder = ladderOf(part[0]);
    return figure(title, ladderFigure(ladder, roofOf(part[0]), width));
  });
}

function rooflines(found, width) {
  return groups(found)
    .map(([title, part]) => [title, part.filter((row) => row.flops && row.bytes)])
    .filter(([, part]) => part.length)
    .map(([title, part]) => {
      const order = variantsOf(ladderOf(part[0]));
      const present = new Set(part.map((row) => row.variant));
      const totals = ladderOf(part[0]).bars.filter((bar) => present.has(bar.variant));
      const names = order
        .map((name, index) => ({ name, color: color(index), form: sign(index, 7) }))
        .filter((entry) => present.has(entry.name));
      const drawn = rooflineFigure(part, totals, roofOf(part[0]), order, width);
      return figure(title, legend(names), drawn);
    });
}

function layers(found) {
  return groups(found).map(([title, part]) => {
    const shapes = new Map();
    for (const row of part) {
      if (!shapes.has(row.key))
        shapes.set(row.key, {
          label: row.label,
          count: row.layers,
          flops: row.flops,
          by: new Map(),
        });
      shapes.get(row.key).by.set(row.variant, row);
    }
    const all = [...shapes.values()];
    const whole = all.reduce((sum, one) => sum + one.flops * one.count, 0) || 1;
    for (const one of all) one.best = Math.max(...[...one.by.values()].map((row) => row.gflops));
    const present = new Set(part.map((row) => row.variant));
    const variants = variantsOf(ladderOf(part[0])).filter((name) => present.has(name));
    const columns = [
      { name: "layer", value: (one) => one.label },
      { name: "layers", title: "that have this shape", value: (one) => one.count, numeric: true },
      {
        name: "flops",
        title: "share of all operations",
        value: (one) => (one.flops * one.count) / whole,
        text: (one) => percent((one.flops * one.count) / whole),
        numeric: true,
      },
      ...variants.map((name) => ({
        name,
        title: "GFLOP/s",
        value: (one) => one.by.get(name)?.gflops ?? null,
        text: (one) => number(one.by.get(name)?.gflops),
        numeric: true,
        mark: (cell, one) => {
          const row = one.by.get(name);
          if (!row) return;
          cell.classList.add("shaded");
          cell.style.setProperty("--share", Math.min(1, row.share_of_roof));
          cell.title = `${number(1e3 * row.median)} ms, ${percent(row.share_of_roof)} of the roof`;
          if (row.gflops === one.best) cell.style.fontWeight = "bold";
        },
      })),
    ];
    return figure(title, ...sortableTable(`layers ${title}`, columns, all));
  });
}

// Whole networks, whatever operation, variant or layer is chosen.
function networks(width) {
  const chosen = (name) => filters.elements[name].value;
  const found = rows.filter(
    (row) =>
      !isKernel(row) &&
      (!chosen("threads") || String(row.threads) === chosen("threads")) &&
      (!chosen("network") || Object.hasOwn(row.networks, chosen("network"))),
  );
  const engines = new Map();
  for (const row of found.filter((one) => ENGINES.has(one.op))) {
    const title = `${row.op === "training" ? "Training" : "Running"} ${row.label}, ${threadCount(row.threads)}`;
    if (!engines.has(title)) engines.set(title, []);
    engines.get(title).push(row);
  }
  const races = [...engines].map(([title, part]) => {
    const entries = sorted(part, (row) => row.median, "ascending").map((row, index) => ({
      name: row.variant,
      notes: "",
      parts: [{ size: 1e3 * row.median, color: color(index ? 0 : 2) }],
      low: 1e3 * row.low,
      high: 1e3 * row.high,
      words: `${number(1e3 * row.median)} ms`,
    }));
    return figure(title, barFigure(title, entries, { width, unit: "ms" }));
  });
  const steps = new Set(
    found.filter((row) => row.op === "step").map((row) => `${row.model} ${row.threads}`),
  );
  const drawn = report.blocks.filter((entry) => steps.has(`${entry.model} ${entry.threads}`));
  const names = report.kinds.map((kind, index) => ({
    name: kind,
    color: color(index + 1),
    form: sign(1, 9),
  }));
  const blocks = drawn.map((entry) =>
    figure(
      `The time of ${entry.model}, ${threadCount(entry.threads)}`,
      legend(names),
      blocksFigure(entry, width),
    ),
  );
  return [...races, ...blocks];
}

const COLUMNS = [
  { name: "operation", value: (row) => row.op },
  { name: "layer", value: (row) => (row.path ? `${row.path} ${row.label}` : row.label) },
  { name: "variant", value: (row) => row.variant },
  { name: "threads", value: (row) => row.threads, numeric: true },
  { name: "caches", value: (row) => row.cache },
  {
    name: "networks",
    title: "layers that have this shape",
    value: (row) =>
      Object.entries(row.networks)
        .map(([name, count]) => `${name} ${count}`)
        .join(", "),
  },
  measure("ms", "median of the repeats", (row) => 1e3 * row.median),
  measure(
    "spread",
    "between the quartiles, over the median",
    (row) => (row.high - row.low) / row.median,
    percent,
  ),
  measure("GFLOP/s", "operations of the plain definition", (row) => row.gflops),
  measure(
    "of roof",
    "least time that the machine needs, over the median",
    (row) => row.share_of_roof,
    percent,
  ),
  measure("over below", "times as fast as the rung below", (row) => row.speedup_over_below),
  measure("flops/byte", "", (row) => (row.bytes ? row.flops / row.bytes : null)),
  { name: "bound by", value: (row) => row.bound },
  measure("compile s", "what the first call took longer", (row) => row.compile_seconds),
  measure("error", "largest, in standard deviations of the result", (row) => row.error),
  measure("allowed", "error, at most", (row) => row.tolerance),
];

function measure(name, title, value, words = number) {
  return { name, title, value, text: (row) => words(value(row)), numeric: true };
}

function facts(pairs) {
  const lines = pairs.map(([name, value]) =>
    element("tr", {}, element("td", {}, name), element("td", {}, value)),
  );
  return element("table", { class: "facts" }, element("tbody", {}, ...lines));
}

// Pairs: number of threads, what the machine can do on them.
function roofs() {
  return report.roofs.map((roof) => {
    const speeds = roof.bandwidths.map(([name, speed]) => `${name} ${number(speed / 1e9)} GB/s`);
    return [
      threadCount(roof.threads),
      [`${number(roof.flops / 1e9)} GFLOP/s`, ...speeds].join(", "),
    ];
  });
}

function machine() {
  return [
    figure("What the machine can do, measured in between", facts(roofs())),
    figure("Machine", facts(report.machine)),
    figure("Settings", facts(report.settings)),
  ];
}

// --- all together ------------------------------------------------------------------------------

function put(name, content) {
  const section = document.getElementById(name);
  section.hidden = content.length === 0;
  section.querySelector(".figures").replaceChildren(...content);
}

function draw() {
  const found = rows.filter(matches).map((row) => ({ ...row, layers: layersOf(row) }));
  const width = document.querySelector("main").clientWidth;
  document.getElementById("count").textContent = `${found.length} of ${rows.length} measurements`;
  put("ladder", ladders(found, width));
  put("roofline", rooflines(found, width));
  put("layers", layers(found));
  put("networks", networks(width));
  put("rows", sortableTable("all measurements", COLUMNS, found));
}

// At most once in a moment, however quickly the reader types.
let waiting = 0;
function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(draw, 80);
}

function explain(event) {
  const row = rows[event.target.dataset?.row];
  tip.hidden = !row;
  if (!row) return;
  tip.textContent = [
    `${row.variant}: ${row.label}`,
    `${number(row.gflops)} GFLOP/s${row.effective ? " effective" : ""}, ${percent(row.share_of_roof)} of the roof`,
    `${number(1e3 * row.median)} ms (${number(1e3 * row.low)} to ${number(1e3 * row.high)})`,
    `${number(row.flops / row.bytes)} flops/byte, bound by ${row.bound}`,
    Object.entries(row.networks)
      .map(([name, count]) => `${name}: ${count}`)
      .join(", "),
  ].join("\n");
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
}

filters.addEventListener("input", soon);
filters.addEventListener("reset", soon);
filters.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("pointerover", explain);
document.getElementById("roofline").addEventListener("click", (event) => {
  const row = rows[event.target.dataset?.row];
  if (!row) return;
  filters.elements.text.value = `"${row.label}"`;
  draw();
});
let drawnWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== drawnWidth) soon();
  drawnWidth = innerWidth;
});

document.getElementById("machine-line").textContent = report.title;
document.getElementById("roof-line").textContent = roofs()
  .map((pair) => pair.join(": "))
  .join("; ");
fillFilters();
// The first view is one ladder, not all of them.
const first = rows.find(isKernel);
if (first) {
  filters.querySelector(
    `[name=op] option:nth-of-type(${choices.op.indexOf(first.op) + 2})`,
  ).defaultSelected = true;
  filters.reset();
}
put("machine", machine());
draw();
