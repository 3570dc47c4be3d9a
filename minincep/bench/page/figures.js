"use strict";

// Drawing: elements, numbers as text, and the figures.  All text from the record goes in as text
// nodes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "";
  if (value === 0 || (value >= 1000 && value < 1e15)) return Math.round(value).toString();
  return value < 1e-4 ? value.toExponential(1) : Number(value.toPrecision(digits)).toString();
}

function percent(value) {
  return value === null ? "" : `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
}

function threadCount(threads) {
  return threads === 1 ? "1 thread" : `${threads} threads`;
}

function drawing(width, height, label, ...children) {
  const box = {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  };
  return shape("svg", box, ...children);
}

function text(x, y, content, attributes = {}) {
  return shape("text", { x, y, ...attributes }, content);
}

function line(x1, y1, x2, y2, kind) {
  return shape("line", { x1, y1, x2, y2, class: kind });
}

function short(name) {
  return name.length > 28 ? `${name.slice(0, 27)}…` : name;
}

// Names of variants in the order that gives them their colours and signs.
function variantsOf(ladder) {
  return ladder.bars.filter((bar) => bar.kind !== "best").map((bar) => bar.variant);
}

function color(index) {
  return report.colors[index % report.colors.length];
}

// The sign of a variant, around 0: told apart by form, too.
function sign(index, r) {
  const polygon = (corners, turn, inner = 1) =>
    Array.from({ length: corners }, (_, i) => {
      const angle = 2 * Math.PI * (turn + i / corners);
      const far = i % 2 ? r * inner : r;
      return `${i ? "L" : "M"}${(far * Math.cos(angle)).toFixed(2)} ${(far * Math.sin(angle)).toFixed(2)}`;
    }).join("") + "Z";
  const forms = [
    () => polygon(24, 0),
    () => polygon(4, 1 / 8),
    () => polygon(4, 0),
    () => polygon(3, -1 / 4),
    () => polygon(3, 1 / 4),
    () => polygon(8, 0, 0.4),
    () => polygon(8, 1 / 8, 0.4),
    () => polygon(5, -1 / 4),
    () => polygon(10, -1 / 4, 0.5),
    () => polygon(6, 0),
  ];
  return forms[(index + Math.floor(index / report.colors.length)) % forms.length](); // no pair twice
}

// Ticks of a linear axis from 0: about five round numbers.
function ticks(most) {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

// Bars from the top down.  An entry: {name, notes, parts: [{size, color}], low, high, words}.
function barFigure(label, entries, { width, unit, mark, markName }) {
  const narrow = width < 620;
  const height = narrow ? 54 : 40;
  const longest = Math.max(
    ...entries.map((entry) => Math.max(short(entry.name).length, entry.notes.length * 0.9)),
  );
  const left = narrow ? 2 : Math.min(300, 14 + 7.6 * longest);
  const right = 14 + 7.4 * Math.max(...entries.map((entry) => entry.words.length));
  const size = (entry) => entry.parts.reduce((sum, part) => sum + part.size, 0);
  const sizes = entries.map((entry) => Math.max(size(entry), entry.high ?? 0));
  const most = Math.max(mark ?? 0, ...sizes) || 1; // where nothing was done, nothing is drawn
  const scale = (value) => left + (value / most) * (width - left - right);
  const bottom = 8 + entries.length * height;
  const figure = drawing(width, bottom + 38, label);
  for (const tick of ticks(most)) {
    figure.append(line(scale(tick), 4, scale(tick), bottom, "axis"));
    figure.append(
      text(scale(tick), bottom + 15, number(tick), { class: "quiet", "text-anchor": "middle" }),
    );
  }
  figure.append(text(left, bottom + 32, unit, { class: "quiet" }));
  const words = shape("g"); // over all lines
  entries.forEach((entry, place) => {
    const top = 8 + place * height;
    const middle = narrow ? top + 34 : top + height / 2;
    const end = { "text-anchor": "end" };
    if (narrow) {
      const notes = shape("tspan", { class: "quiet" }, entry.notes && `  ${entry.notes}`);
      words.append(shape("text", { x: left, y: top + 16 }, short(entry.name), notes));
    } else {
      words.append(text(left - 8, entry.notes ? middle - 3 : middle + 4, short(entry.name), end));
      if (entry.notes)
        words.append(text(left - 8, middle + 13, entry.notes, { ...end, class: "quiet" }));
    }
    let start = 0;
    for (const part of entry.parts) {
      const box = { x: scale(start), y: middle - 11, height: 22, fill: part.color };
      const title = part.name ? `${part.name}: ${number(part.size)} ${unit}` : entry.words;
      figure.append(
        shape(
          "rect",
          { ...box, width: scale(start + part.size) - scale(start) },
          shape("title", {}, title),
        ),
      );
      start += part.size;
    }
    if (entry.low !== undefined)
      figure.append(line(scale(entry.low), middle, scale(entry.high), middle, "spread"));
    words.append(text(width - right + 10, middle + 4, entry.words));
  });
  if (mark) {
    figure.append(line(scale(mark), 4, scale(mark), bottom, "roof dashed"));
    const end = scale(mark) > width / 2 ? "end" : "middle";
    figure.append(
      text(scale(mark), bottom + 32, `${markName} ${number(mark)}`, {
        class: "quiet",
        "text-anchor": end,
      }),
    );
  }
  figure.append(words);
  return figure;
}

function ladderFigure(ladder, roof, width) {
  // The fastest of all on top, then the rungs from the top down, then what stands beside them.
  const kinds = { best: 0, rung: 1, beside: 2 };
  const order = [...ladder.bars].reverse().sort((a, b) => kinds[a.kind] - kinds[b.kind]);
  const variants = variantsOf(ladder);
  const entries = order.map((bar) => ({
    name: bar.variant,
    notes: [
      bar.effective ? "effective" : "",
      bar.kind === "beside" ? "beside the ladder" : "",
      bar.taken > 0.9995 ? "" : `takes ${percent(bar.taken)} of the flops`,
    ]
      .filter(Boolean)
      .join(", "),
    parts: [
      {
        size: bar.gflops,
        color: bar.kind === "best" ? "var(--ink)" : color(variants.indexOf(bar.variant)),
      },
    ],
    low: bar.low,
    high: bar.high,
    words: `${number(bar.gflops)}${bar.step ? `, ×${bar.step.toFixed(2)}` : ""}, ${percent(bar.share)} of roof`,
  }));
  const label = `GFLOP/s: ${entries.map((entry) => `${entry.name} ${entry.words}`).join("; ")}`;
  const peak = roof ? roof.flops / 1e9 : 0;
  const near = peak < 4 * Math.max(...ladder.bars.map((bar) => bar.gflops)); // else no bar is seen
  const mark = near ? peak : 0;
  return barFigure(label, entries, { width, unit: "GFLOP/s", mark, markName: "FMA peak" });
}

// Logarithmic scale from an interval of values to one of pixels.
function logarithmic(low, high, start, end) {
  const factor = (end - start) / Math.log(high / low);
  return (value) => start + factor * Math.log(value / low);
}

function powers(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

// rows: one operation, number of threads, state of the caches; `order` gives variants their signs.
function rooflineFigure(rows, totals, roof, order, width) {
  const height = Math.max(380, Math.min(560, 0.56 * width));
  const [left, right, top, bottom] = [52, 12, 10, height - 44];
  const intensity = (row) => row.flops / row.bytes;
  const ridges = roof ? roof.bandwidths.map(([, speed]) => roof.flops / speed) : [];
  const peak = roof ? roof.flops / 1e9 : 1;
  const xs = [...rows.map(intensity), ...ridges];
  const ys = [...rows.map((row) => row.gflops), ...(roof ? [peak] : [])];
  const [west, east] = [Math.min(...xs) / 2, Math.max(...xs) * 2];
  const south = Math.min(...ys) / 2;
  // The names of the roofs stand above the peak, and take so much of the height.
  const named = roof ? 135 / (bottom - top) : 0;
  const north = Math.max(2 * Math.max(...ys), south * (peak / south) ** (1 / (1 - named)));
  const x = logarithmic(west, east, left, width - right);
  const y = logarithmic(south, north, bottom, top);
  const figure = drawing(
    width,
    height,
    `Roofline of ${rows.length} measurements; the table at the end has them all`,
  );
  for (const tick of powers(west, east)) {
    figure.append(line(x(tick), top, x(tick), bottom, "axis"));
    figure.append(
      text(x(tick), bottom + 16, number(tick), { class: "quiet", "text-anchor": "middle" }),
    );
  }
  for (const tick of powers(south, north)) {
    figure.append(line(left, y(tick), width - right, y(tick), "axis"));
    figure.append(
      text(left - 6, y(tick) + 4, number(tick), { class: "quiet", "text-anchor": "end" }),
    );
  }
  figure.append(
    text((left + width) / 2, height - 8, "flops/byte", { class: "quiet", "text-anchor": "middle" }),
  );
  figure.append(
    text(0, 0, "GFLOP/s", {
      class: "quiet",
      "text-anchor": "middle",
      transform: `translate(12 ${bottom / 2}) rotate(-90)`,
    }),
  );
  if (roof) {
    figure.append(line(left, y(peak), width - right, y(peak), "roof"));
    figure.append(
      text(left + 6, y(peak) - 6, `FMA peak ${number(peak)} GFLOP/s`, { class: "quiet" }),
    );
    let beside = -Infinity;
    for (const [name, speed] of [...roof.bandwidths].sort((a, b) => b[1] - a[1])) {
      // The diagonal begins at the left edge or at the lower one.
      const begin = Math.max(west, (1e9 * south) / speed);
      const ridge = roof.flops / speed;
      figure.append(line(x(begin), y((begin * speed) / 1e9), x(ridge), y(peak), "slope"));
      beside = Math.max(x(ridge), beside + 15);
      const words = `${short(name)} ${number(speed / 1e9)} GB/s`;
      const place = `translate(${beside + 4} ${y(peak) - 24}) rotate(-90)`;
      figure.append(text(0, 0, words, { class: "quiet", transform: place }));
    }
  }
  const heaviest = Math.max(...rows.map((row) => row.flops * row.layers));
  for (const row of [...rows].sort((a, b) => b.flops * b.layers - a.flops * a.layers)) {
    const index = order.indexOf(row.variant);
    const radius =
      (width < 620 ? 0.6 : 1) *
      (2.5 + 7 * Math.sqrt(Math.sqrt((row.flops * row.layers) / heaviest)));
    figure.append(
      shape("path", {
        d: sign(index, radius),
        transform: `translate(${x(intensity(row)).toFixed(1)} ${y(row.gflops).toFixed(1)})`,
        class: row.effective ? "sign hollow" : "sign",
        fill: color(index),
        stroke: color(index),
        "data-row": row.index,
      }),
    );
  }
  for (const bar of totals) {
    if (!bar.intensity) continue;
    const index = order.indexOf(bar.variant);
    const place = `translate(${x(bar.intensity).toFixed(1)} ${y(bar.gflops).toFixed(1)})`;
    figure.append(
      shape("path", { d: sign(index, 10), transform: place, class: "total", fill: color(index) }),
    );
  }
  return figure;
}

// An entry: {name, color, form}, where the form is a path around 0.
function legend(entries) {
  const items = entries.map((entry) => {
    const box = { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" };
    const icon = shape("svg", box, shape("path", { d: entry.form, fill: entry.color }));
    return element("li", {}, icon, entry.name);
  });
  return element("ul", { class: "legend" }, ...items);
}

function blocksFigure(entry, width) {
  const total = entry.parts.reduce(
    (sum, part) => sum + Object.values(part.seconds).reduce((a, b) => a + b, 0),
    0,
  );
  const entries = entry.parts.map((part) => {
    const pieces = report.kinds.map((kind, index) => ({
      name: kind,
      size: 1e3 * (part.seconds[kind] ?? 0),
      color: color(index + 1),
    }));
    const own = pieces.reduce((sum, piece) => sum + piece.size, 0);
    return {
      name: part.name,
      notes: "",
      parts: pieces.filter((piece) => piece.size),
      words: `${number(own)} ms, ${percent(own / (1e3 * total))}`,
    };
  });
  const label = `${number(1e3 * total)} ms: ${entries.map((one) => `${one.name} ${one.words}`).join("; ")}`;
  return barFigure(label, entries, { width, unit: "ms" });
}
