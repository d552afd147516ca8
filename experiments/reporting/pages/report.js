"use strict";
// The page is whole without this script; it adds sorting, filters and the plot.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const SVG = "http://www.w3.org/2000/svg";

  const svg = (name, attributes = {}, parent = null) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  };
  const percent = (fraction) => `${(fraction * 100).toFixed(2)}%`;
  const grouped = (number) => Math.round(number).toLocaleString("en-US");
  const short = (number) => {
    for (const [limit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (number >= limit) return `${Number((number / limit).toPrecision(3))}${letter}`;
    return `${Number(number.toPrecision(3))}`;
  };
  // Sentences carry structures in backticks. Only text nodes are made: nothing is read as HTML.
  const sentence = (text, parent) => text.split("`").forEach((part, i) => {
    const node = i % 2 ? document.createElement("code") : document.createTextNode("");
    node.textContent = part;
    parent.append(node);
  });
  const darkMode = matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const colour = (method) => (darkMode.matches && !printing ? method.dark_color : method.color);

  // ---- tables -------------------------------------------------------------------------------
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function sortable(table) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
        const numeric = head.classList.contains("number");
        const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column).trim(), row]);
        rows.sort(([a], [b]) => {
          if (a === "" || b === "") return (a === "") - (b === "");  // nothing stands last
          const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
          return order * direction;
        });
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // Says whether a row has every word. A number belongs to the word before it, and is a whole one:
  // "rank 1" is not in "rank 15".
  function wanted(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const phrases = words.reduce((found, word) => (
      found.length && /^\d+$/.test(word) ? [...found.slice(0, -1), `${found.at(-1)} ${word}`] : [...found, word]), []);
    const patterns = phrases.map((phrase) => new RegExp(
      (/^\d/.test(phrase) ? "(?<![\\d.])" : "") + phrase.replace(/[^\w\s]/g, "\\$&")
      + (/\d$/.test(phrase) ? "(?!\\.?\\d)" : "")));
    return (row) => {
      const content = [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase();
      return patterns.every((pattern) => pattern.test(content));
    };
  }

  function filterable(table, controls, onChange) {
    const text = controls.querySelector("input[type=search]");
    const choice = controls.querySelector("select");
    const status = controls.querySelector("[role=status]");
    const update = () => {
      const hasWords = wanted(text.value);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = !(hasWords(row) && (!choice.value || row.dataset.choice === choice.value));
        shown += !row.hidden;
      }
      status.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
      if (onChange) onChange();
    };
    text.addEventListener("input", update);
    choice.addEventListener("change", update);
    update();
  }

  // ---- the plot -----------------------------------------------------------------------------
  // A polygon, or a star where its inner corners are nearer to the middle; `turn` is of a whole one.
  const polygon = (corners, turn = 0, inner = null) => (r) => {
    const each = inner === null ? 1 : 2;
    const places = [...Array(corners * each).keys()].map((i) => {
      const radius = 1.4 * r * (each === 2 && i % 2 ? inner : 1);
      const angle = 2 * Math.PI * (i / (corners * each) + turn) - Math.PI / 2;
      return `${radius * Math.cos(angle)},${radius * Math.sin(angle)}`;
    });
    return `M${places.join("L")}Z`;
  };
  const GLYPHS = {  // by Matplotlib's letters
    o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
    s: polygon(4, 1 / 8), D: polygon(4), p: polygon(5), h: polygon(6),
    "^": polygon(3), ">": polygon(3, 1 / 4), v: polygon(3, 1 / 2), "<": polygon(3, 3 / 4),
    P: polygon(4, 0, 0.4), X: polygon(4, 1 / 8, 0.4), "*": polygon(5, 0, 0.45),
  };
  const DASHES = { "-": "", "--": "7 4", "-.": "8 3 2 3", ":": "2 3" };
  const TICK_STEPS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]];

  function logTicks(low, high, atLeast) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const powers = [...Array(last - first + 1).keys()].map((i) => 10 ** (first + i));
    const choices = TICK_STEPS.map((steps) => powers.flatMap((power) => steps.map((step) => step * power))
      .filter((tick) => tick >= low && tick <= high));
    return choices.find((ticks) => ticks.length >= atLeast) ?? choices.at(-1);
  }

  function linearTicks(low, high) {
    const raw = (high - low) / 6;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
    return ticks;
  }

  // Where an axis ends, so that the lower three quarters of the values have a quarter of it or more.
  function fenceOf(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const used = sorted[Math.floor(0.75 * (sorted.length - 1))] - sorted[0];
    return sorted.length >= 5 && used > 0 ? sorted[0] + 4 * used : Infinity;
  }

  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const around = (x, y, width, height) => (
    { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 });

  // Writes names beside points, where there is room. A point that must have one and has no room
  // gets a number, and its name stands below the plot.
  function nameAll(root, key, box, points) {
    const HEIGHT = 13;
    const taken = points.map((p) => around(p.x, p.y, p.must ? 21 : 14, p.must ? 21 : 14));
    const along = (kinds) => [...root.querySelectorAll(kinds)].flatMap((line) => {
      const length = line.getTotalLength();
      return [...Array(Math.ceil(length / 4) + 1).keys()].map((i) => {
        const at = line.getPointAtLength(Math.min(4 * i, length));
        return around(at.x, at.y, 2, 2);
      });
    });
    taken.push(...along(".ruled"));
    const drawn = along(".curve, .bar");
    // How far from its point, and away from what; a number may stand where a name would be lost.
    const near = [[0, drawn], [7, drawn], [14, drawn], [0, []], [7, []]];
    const far = [...near, [14, []], [21, []]];
    const place = (point, text, distances) => {
      const node = svg("text", { class: point.isFaded ? "name faded" : "name" }, root);
      node.textContent = text;
      const width = node.getComputedTextLength() + 4;
      for (const [gap, lines] of distances)
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [-1, -1], [1, 1], [-1, 1]]) {
          const own = around(point.x + dx * (width / 2 + 10 + (dy ? -6 : gap)),
            point.y + dy * (HEIGHT / 2 + 10 + gap), width, HEIGHT);
          const isInside = own.left >= box.left && own.right <= box.right && own.top >= box.top && own.bottom <= box.bottom;
          if (!isInside || [...taken, ...lines].some((other) => meet(own, other))) continue;
          node.setAttribute("x", own.left + 2);
          node.setAttribute("y", own.bottom - 3);
          taken.push(own);
          return true;
        }
      node.remove();
      return false;
    };
    const nameless = points.filter((point) => !place(point, point.text, near) && point.must);
    nameless.sort((a, b) => a.x - b.x).forEach((point, i) => {
      const number = place(point, `${i + 1}`, far) ? `${i + 1} = ` : "";
      const entry = key.appendChild(document.createElement("span"));
      entry.append(number, Object.assign(document.createElement("code"), { textContent: point.text }));
    });
  }

  function comparison(section, content) {
    const find = (name) => section.querySelector(`[data-part=${name}]`);
    const controls = { split: find("split"), size: find("size"), points: find("points"), log: find("log") };
    const plot = find("plot");
    const tip = find("tip");
    const table = section.querySelector("table.groups");
    const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.group, row]));
    const named = (place) => `g${place}`;
    content.groups.forEach((group, place) => { group.id = named(place); });
    const errorOf = (group, split) => (
      { mean: group[`${split}_error`], std: group[`${split}_error_std`], n: group[`${split}_error_n`] });
    const methods = content.methods;
    const hiddenMethods = new Set();
    const lines = find("lines");
    const key = find("key");
    let chosen = null;

    // An icon of a line.
    function line(attributes) {
      const icon = svg("svg", { viewBox: "0 0 34 14", "aria-hidden": "true" });
      svg("line", { x1: 1, x2: 33, y1: 7, y2: 7, ...attributes }, icon);
      return icon;
    }

    function legend() {
      const box = find("legend");
      box.replaceChildren();
      for (const [key, method] of Object.entries(methods)) {
        const label = document.createElement("label");
        const input = document.createElement("input");
        input.type = "checkbox";
        input.checked = !hiddenMethods.has(key);
        input.addEventListener("change", () => {
          if (input.checked) hiddenMethods.delete(key); else hiddenMethods.add(key);
          draw();
        });
        const icon = line({ stroke: colour(method), "stroke-width": 1.5, "stroke-dasharray": DASHES[method.line] });
        svg("path", { d: GLYPHS[method.marker](4.5), transform: "translate(17 7)", fill: colour(method) }, icon);
        label.append(input, icon, method.label);
        box.append(label);
      }
    }

    function headline() {
      const list = find("headline");
      list.replaceChildren();
      const said = content.headlines[controls.split.value][controls.size.value][controls.points.value];
      for (const text of said) sentence(text, list.appendChild(document.createElement("li")));
    }

    function explain(name, text) {
      const label = lines.appendChild(document.createElement("span"));
      label.append(line({ class: name }), text);
    }

    function showTip(group, split, x, y) {
      const { mean, std, n } = errorOf(group, split);
      tip.replaceChildren();
      const say = (text, tag = "div") => {
        tip.appendChild(document.createElement("div")).appendChild(document.createElement(tag)).textContent = text;
      };
      say(group.label, "strong");
      if (group.settings) say(group.settings);
      say(`${methods[group.method].label}: ${split} error ${percent(mean)}`
        + (std === null ? "" : ` ± ${(std * 100).toFixed(2)}`) + ` (${n} ${n === 1 ? "seed" : "seeds"})`);
      for (const [size, label] of Object.entries(content.sizes))
        say(`${grouped(group[size])} ${label} (${(group[`${size}_reduction`] * 100).toFixed(2)}% fewer than dense)`);
      if (group.command) say(group.command, "code");
      tip.hidden = false;
      const width = plot.clientWidth;
      tip.style.left = `${Math.max(0, Math.min(x + 14, width - tip.offsetWidth - 4))}px`;
      const below = y + 16;
      tip.style.top = `${below + tip.offsetHeight > plot.clientHeight && y > tip.offsetHeight + 16
        ? y - tip.offsetHeight - 12 : below}px`;
    }

    function choose(group) {
      chosen = group.id;
      table.querySelectorAll("tr.chosen").forEach((row) => row.classList.remove("chosen"));
      const row = rows.get(group.id);
      row.classList.add("chosen");
      row.scrollIntoView({ block: "nearest", behavior: "smooth" });
      draw();
    }

    function draw() {
      const split = controls.split.value;
      const size = controls.size.value;
      const focused = plot.contains(document.activeElement) ? document.activeElement.dataset.group : null;
      plot.querySelector("svg")?.remove();
      tip.hidden = true;
      key.replaceChildren();
      lines.replaceChildren();
      const groups = content.groups.filter((g) => errorOf(g, split).mean !== null && g.is_best && g[size] > 0);
      // A dense point so large that it would squeeze all others is left to the table.
      const small = Math.max(0, ...groups.filter((g) => g.method !== "dense").map((g) => g[size]));
      const fits = (g) => g.method !== "dense" || !small || g[size] <= 2 * small;
      const visible = groups.filter((g) => fits(g) && !hiddenMethods.has(g.method));
      const width = Math.max(340, plot.clientWidth);
      const height = Math.round(Math.min(520, Math.max(400, width * 0.5)));
      const box = { left: 62, right: width - 14, top: 12, bottom: height - 46 };
      const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
        "aria-label": `${split} error against ${content.sizes[size]}; every point can be focused` });
      plot.prepend(root);
      if (!visible.length) {
        svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, root).textContent = "No point to show.";
        return;
      }

      const xs = visible.map((g) => Math.log(g[size]));
      const dense = groups.find((g) => g.id === named(content.dense[split]));
      const limit = dense && errorOf(dense, split).mean + Number(controls.points.value) / 100;
      const errors = visible.map((g) => errorOf(g, split).mean);
      const references = dense ? [errorOf(dense, split).mean, limit] : [];
      const least = Math.min(...errors, ...references);
      const log = controls.log.checked && least > 0;
      const f = log ? Math.log : (value) => value;
      const fence = fenceOf(errors.map(f));
      const isOut = (error) => f(error) > fence;
      const ends = visible.flatMap((g) => {
        const { mean, std } = errorOf(g, split);
        return isOut(mean) ? [] : [mean, mean - (std || 0), mean + (std || 0)];
      }).filter((e) => e >= 0.6 * least).concat(references).map(f);
      const [lowest, highest] = [Math.min(...ends), Math.max(...ends)];
      const margin = 0.08 * (highest - lowest) || (log ? 0.1 : 0.001);
      // Marks above the fence stand in a strip of their own at the top.
      const strip = errors.some(isOut) ? 34 : 0;
      const [low, high] = [lowest - margin, highest + margin];
      const [left, right] = [Math.min(...xs) - 0.25, Math.max(...xs) + 0.25];
      const x = (value) => box.left + ((Math.log(value) - left) / (right - left)) * (box.right - box.left);
      const y = (value) => (isOut(value) ? box.top + 8
        : box.bottom - ((f(value) - low) / (high - low)) * (box.bottom - box.top - strip));
      const [bottomError, topError] = log ? [Math.exp(low), Math.exp(high)] : [Math.max(0, low), high];
      const inside = (value) => Math.max(bottomError, Math.min(topError, value));

      for (const tick of logTicks(Math.exp(left), Math.exp(right), 3)) {
        svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }, root);
        svg("text", { x: x(tick), y: box.bottom + 17, "text-anchor": "middle" }, root).textContent = short(tick);
      }
      for (const tick of log ? logTicks(bottomError, topError, 4) : linearTicks(bottomError, topError)) {
        svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }, root);
        svg("text", { x: box.left - 7, y: y(tick) + 4, "text-anchor": "end" }, root).textContent =
          `${Number((tick * 100).toPrecision(3))}%`;
      }
      svg("path", { class: "axis", fill: "none", d: `M${box.left},${box.top}V${box.bottom}H${box.right}` }, root);
      svg("text", { class: "soft", x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle" }, root)
        .textContent = `${content.sizes[size]} (logarithmic)`;
      svg("text", { class: "soft", "text-anchor": "middle",
        transform: `translate(14 ${(box.top + box.bottom) / 2}) rotate(-90)` }, root)
        .textContent = `${split} error${log ? " (logarithmic)" : ""}`;
      references.forEach((error, i) => svg("line", { class: `ruled ${i ? "limit" : "dense-line"}`, x1: box.left,
        x2: box.right, y1: y(error), y2: y(error) }, root));
      if (strip) svg("line", { class: "ruled cut", x1: box.left, x2: box.right, y1: box.top + strip,
        y2: box.top + strip }, root);
      // What the lines mean stands above the plot: in it, points would print over it.
      lines.replaceChildren();
      if (dense) {
        const beyond = fits(dense) ? "" : `, ${short(dense[size])}, beyond the right edge`;
        explain("dense-line", `dense: ${percent(errorOf(dense, split).mean)}${beyond}`);
        explain("limit", `dense + ${controls.points.value} points`);
      }
      if (strip) explain("cut", "above this line: errors beyond the scale, written beside their marks");

      const fronts = content.fronts[split][size];
      const byId = new Map(visible.map((g) => [g.id, g]));
      const own = new Set(Object.values(fronts.methods).flat().map(named));
      for (const [key, ids] of Object.entries(fronts.methods)) {
        const members = ids.map((place) => byId.get(named(place))).filter(Boolean);
        const near = members.filter((g) => !isOut(errorOf(g, split).mean));
        if (near.length > 1)
          svg("path", { class: "curve", fill: "none", stroke: colour(methods[key]), "stroke-width": 1.5,
            "stroke-dasharray": DASHES[methods[key].line],
            d: `M${near.map((g) => `${x(g[size])},${y(errorOf(g, split).mean)}`).join("L")}` }, root);
      }
      const front = new Set(fronts.all.map(named));
      // Points of the front are drawn last, to lie on top.
      const ordered = [...visible].sort((a, b) => front.has(a.id) - front.has(b.id) || a[size] - b[size]);
      for (const group of ordered) {
        const { mean, std, n } = errorOf(group, split);
        const [cx, cy] = [x(group[size]), y(mean)];
        const row = rows.get(group.id);
        const faded = row && row.hidden ? " faded" : own.has(group.id) ? "" : " pale";
        const node = svg("g", { class: `point${faded}${chosen === group.id ? " chosen" : ""}`, tabindex: 0,
          role: "button", "data-group": group.id, ...(isOut(mean) ? { "data-off": true } : {}),
          "aria-label": `${group.label} ${group.settings}, ${short(group[size])} ${content.sizes[size]}, `
            + `${split} error ${percent(mean)}${std === null ? "" : ` ± ${(std * 100).toFixed(2)}`}, ${n} seeds`
            + (front.has(group.id) ? ", on the Pareto front" : "") }, root);
        svg("circle", { class: "halo", cx, cy, r: 12 }, node);
        const stroke = colour(methods[group.method]);
        if (std && !isOut(mean)) {
          const [top, bottom] = [y(inside(mean + std)), y(inside(mean - std))];
          svg("path", { class: "bar", fill: "none", stroke, d: `M${cx},${top}V${bottom}M${cx - 3},${top}h6M${cx - 3},${bottom}h6` }, node);
        }
        svg("path", { d: GLYPHS[methods[group.method].marker](5), transform: `translate(${cx} ${cy})`,
          class: `shape${isOut(mean) ? " out" : ""}`, fill: stroke, ...(isOut(mean) ? { style: `stroke: ${stroke}` } : {}) }, node);
        if (front.has(group.id)) svg("circle", { class: "front", cx, cy, r: 9 }, node);
        const scale = plot.clientWidth / width;
        const show = () => showTip(group, split, cx * scale, cy * scale);
        node.addEventListener("mouseenter", show);
        node.addEventListener("focus", show);
        for (const event of ["mouseleave", "blur"]) node.addEventListener(event, () => { tip.hidden = true; });
        node.addEventListener("click", () => choose(group));
        node.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(group); }
          if (event.key === "Escape") tip.hidden = true;
        });
      }
      nameAll(root, key, box, ordered.reverse().map((g) => ({
        x: x(g[size]), y: y(errorOf(g, split).mean), must: front.has(g.id) || isOut(errorOf(g, split).mean),
        isFaded: Boolean(rows.get(g.id)?.hidden),
        text: g.label + (isOut(errorOf(g, split).mean) ? `: ${short(errorOf(g, split).mean * 100)}% \u2191` : ""),
      })));
      if (focused) plot.querySelector(`[data-group="${focused}"]`)?.focus();
    }

    const update = () => { headline(); draw(); };
    for (const control of [controls.split, controls.size, controls.points]) control.addEventListener("change", update);
    controls.log.addEventListener("change", draw);
    section.querySelectorAll("table").forEach(sortable);
    filterable(table, find("group-filter"), draw);
    const redraw = () => { legend(); draw(); };
    redraw();
    headline();
    let lastWidth = plot.clientWidth;
    new ResizeObserver(() => {
      if (plot.clientWidth !== lastWidth) { lastWidth = plot.clientWidth; draw(); }
    }).observe(plot);
    return redraw;
  }

  document.querySelectorAll("[data-needs-script]").forEach((node) => { node.hidden = false; });
  const redraws = data.comparisons.map((content, i) => comparison(document.getElementById(`comparison-${i}`), content));
  const trials = document.querySelector("table.trials");
  sortable(trials);
  filterable(trials, document.getElementById("trial-filter"), null);
  const redrawAll = () => redraws.forEach((redraw) => redraw());
  darkMode.addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => { printing = true; redrawAll(); });
  addEventListener("afterprint", () => { printing = false; redrawAll(); });
})();
