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

  // Every word counts; a number belongs to the word before it and is a whole one, so that "rank 1"
  // finds neither rank 15 nor a rank 3 with 1 seed.
  function patternsOf(query) {
    const parts = query.toLowerCase().match(/[^\s\d]\S*\s+\d+(?!\S)|\S+/g) ?? [];
    return parts.map((part) => {
      const escaped = part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
      return new RegExp((/^\d/.test(part) ? "(?<![\\d.,])" : "") + escaped + (/\d$/.test(part) ? "(?![\\d.,]*\\d)" : ""));
    });
  }

  function filterable(table, controls, onChange) {
    const text = controls.querySelector("input[type=search]");
    const choice = controls.querySelector("select");
    const status = controls.querySelector("[role=status]");
    const update = () => {
      const patterns = patternsOf(text.value);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const content = [...row.cells].map((cell) => cell.textContent).join(" | ").toLowerCase();
        row.hidden = !(patterns.every((pattern) => pattern.test(content))
          && (!choice.value || row.dataset.choice === choice.value));
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
  const GLYPHS = {
    o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
    s: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    D: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`,
    "^": (r) => `M0,${-1.3 * r}L${1.25 * r},${r}L${-1.25 * r},${r}Z`,
    P: (r) => `M${-r / 2.4},${-1.2 * r}h${r / 1.2}v${0.8 * r}h${0.8 * r}v${r / 1.2}h${-0.8 * r}v${0.8 * r}`
      + `h${-r / 1.2}v${-0.8 * r}h${-0.8 * r}v${-r / 1.2}h${0.8 * r}Z`,
    "*": (r) => {
      const corners = [...Array(10).keys()].map((i) => {
        const radius = i % 2 ? 0.65 * r : 1.6 * r;
        const angle = (Math.PI * i) / 5 - Math.PI / 2;
        return `${radius * Math.cos(angle)},${radius * Math.sin(angle)}`;
      });
      return `M${corners.join("L")}Z`;
    },
  };
  const DASHES = { "-": "", "--": "7 4", "-.": "8 3 2 3", ":": "2 3" };
  const TICK_STEPS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]];

  function logTicks(low, high, atLeast) {
    let ticks = [];
    for (const steps of TICK_STEPS) {
      ticks = [];
      for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++)
        for (const step of steps) {
          const tick = step * 10 ** d;
          if (tick >= low && tick <= high) ticks.push(tick);
        }
      if (ticks.length >= atLeast) break;
    }
    return ticks;
  }

  function linearTicks(low, high) {
    const raw = (high - low) / 6;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
    return ticks;
  }

  const RANGE = 4;  // points above this many times the upper quartile are drawn at the edge

  // The upper end of the errors that are drawn: a few far outliers do not flatten all others.
  function upperEnd(errors, atLeast) {
    const sorted = [...errors].sort((a, b) => a - b);
    const limit = Math.max(RANGE * sorted[Math.floor(0.75 * (sorted.length - 1))], atLeast);
    return Math.max(...sorted.filter((error) => error <= limit));
  }

  // Puts texts where nothing else is: the first place that is free and inside the box, or none.
  function labels(root, box) {
    const taken = [];
    const overlaps = (a) => taken.some((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom);
    const take = (left, top, right, bottom) => taken.push({ left, top, right, bottom });
    const put = (text, className, places) => {
      const node = svg("text", { class: className }, root);
      node.textContent = text;
      const width = node.getComputedTextLength();
      for (const [x, y, anchor] of places) {
        const left = anchor === "end" ? x - width : anchor === "middle" ? x - width / 2 : x;
        const area = { left: left - 2, right: left + width + 2, top: y - 12, bottom: y + 4 };
        if (overlaps(area) || area.left < box.left || area.right > box.right + 10 || area.top < box.top - 4
          || area.bottom > box.bottom) continue;
        for (const [name, value] of Object.entries({ x, y, "text-anchor": anchor })) node.setAttribute(name, value);
        taken.push(area);
        return true;
      }
      node.remove();
      return false;
    };
    return { take, put };
  }

  function comparison(section, content) {
    const find = (name) => section.querySelector(`[data-part=${name}]`);
    const controls = { split: find("split"), size: find("size"), points: find("points"), log: find("log") };
    const plot = find("plot");
    const tip = find("tip");
    const table = section.querySelector("table.groups");
    const rows = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.group, row]));
    const methods = content.methods;
    const hiddenMethods = new Set();
    let chosen = null;

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
        const icon = svg("svg", { viewBox: "0 0 34 14", "aria-hidden": "true" });
        svg("line", { x1: 1, x2: 33, y1: 7, y2: 7, stroke: colour(method), "stroke-width": 1.5,
          "stroke-dasharray": DASHES[method.line] }, icon);
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

    function tipFor(group, split) {
      const error = group.errors[split];
      tip.replaceChildren();
      const line = (text, tag = "div") => {
        const node = document.createElement(tag === "code" ? "div" : tag);
        if (tag === "code") node.appendChild(document.createElement("code")).textContent = text;
        else node.textContent = text;
        tip.append(node);
      };
      line(group.label, "strong");
      if (group.settings) line(group.settings);
      line(`${methods[group.method].label}: ${split} error ${percent(error.mean)}`
        + (error.std === null ? "" : ` ± ${(error.std * 100).toFixed(2)}`)
        + ` (${error.n} ${error.n === 1 ? "seed" : "seeds"})`);
      for (const [size, label] of Object.entries(content.sizes))
        line(`${grouped(group.sizes[size])} ${label} (${(group.reductions[size] * 100).toFixed(2)}% fewer than dense)`);
      if (group.command) line(group.command, "code");
    }

    function showTip(group, split, x, y) {
      tipFor(group, split);
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
      const groups = content.groups.filter((g) => g.errors[split] && g.is_best && g.sizes[size] > 0);
      // A dense point so large that it would squeeze all others is left to the table.
      const small = Math.max(0, ...groups.filter((g) => g.method !== "dense").map((g) => g.sizes[size]));
      const fits = (g) => g.method !== "dense" || !small || g.sizes[size] <= 2 * small;
      const visible = groups.filter((g) => fits(g) && !hiddenMethods.has(g.method));
      const width = Math.max(340, plot.clientWidth);
      const height = Math.round(Math.min(520, Math.max(320, width * 0.5)));
      const box = { left: 62, right: width - 14, top: 12, bottom: height - 46 };
      const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
        "aria-label": `${split} error against ${content.sizes[size]}; every point can be focused` });
      plot.prepend(root);
      if (!visible.length) {
        svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, root).textContent = "No point to show.";
        return;
      }

      const xs = visible.map((g) => Math.log(g.sizes[size]));
      const dense = groups.find((g) => g.id === content.dense[split]);
      const limit = dense && dense.errors[split].mean + Number(controls.points.value) / 100;
      const means = visible.map((g) => g.errors[split].mean).concat(dense ? [dense.errors[split].mean, limit] : []);
      const log = controls.log.checked && Math.min(...means) > 0;
      const spreads = visible.flatMap((g) => {
        const { mean, std } = g.errors[split];
        return [mean - (std || 0), mean + (std || 0)];
      }).filter((e) => e >= 0.6 * Math.min(...means));
      const top = upperEnd(visible.map((g) => g.errors[split].mean), limit || 0);
      const kept = [...means, ...spreads].filter((error) => error <= 1.2 * top);
      let [low, high] = [Math.min(...kept), Math.max(...kept)];
      if (log) [low, high] = [low / 1.12, high * 1.12];
      else {
        const margin = 0.06 * (high - low) || 0.001;
        [low, high] = [Math.max(0, low - margin), high + margin];
      }
      const [left, right] = [Math.min(...xs) - 0.25, Math.max(...xs) + 0.25];
      const x = (value) => box.left + ((Math.log(value) - left) / (right - left)) * (box.right - box.left);
      const f = log ? Math.log : (value) => value;
      const y = (value) => box.bottom - ((f(value) - f(low)) / (f(high) - f(low))) * (box.bottom - box.top);
      const heightOf = (error) => (error > high ? box.top + 4 : y(error));
      const inside = (value) => Math.max(log ? low : 0, Math.min(high, value));

      for (const tick of logTicks(Math.exp(left), Math.exp(right), 3)) {
        svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }, root);
        svg("text", { x: x(tick), y: box.bottom + 17, "text-anchor": "middle" }, root).textContent = short(tick);
      }
      for (const tick of log ? logTicks(low, high, 4) : linearTicks(low, high)) {
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
      const named = [];  // lines, whose names find their places when all points have theirs
      if (dense) {
        const line = (error, name, text, dy) => {
          svg("line", { class: name, x1: box.left, x2: box.right, y1: y(error), y2: y(error) }, root);
          named.push([error, text, dy]);
        };
        line(dense.errors[split].mean, "dense-line",
          fits(dense) ? "dense" : `dense, ${short(dense.sizes[size])} →`, [14, -5]);
        line(limit, "limit", `dense + ${controls.points.value} points`, [-5, 14]);
      }

      const fronts = content.fronts[split][size];
      const byId = new Map(visible.map((g) => [g.id, g]));
      const own = new Set(Object.values(fronts.methods).flat());
      for (const [key, ids] of Object.entries(fronts.methods)) {
        const members = ids.map((id) => byId.get(id)).filter(Boolean);
        if (members.length > 1)
          svg("path", { fill: "none", stroke: colour(methods[key]), "stroke-width": 1.5,
            "stroke-dasharray": DASHES[methods[key].line],
            d: `M${members.map((g) => `${x(g.sizes[size])},${heightOf(g.errors[split].mean)}`).join("L")}` }, root);
      }
      const front = new Set(fronts.all);
      // Points of the front are drawn last, to lie on top.
      const place = labels(root, box);
      const ordered = [...visible].sort((a, b) => front.has(a.id) - front.has(b.id) || a.sizes[size] - b.sizes[size]);
      for (const group of ordered) {
        const { mean, std, n } = group.errors[split];
        const isOff = mean > high;
        const [cx, cy] = [x(group.sizes[size]), heightOf(mean)];
        place.take(cx - 8, cy - 8, cx + 8, cy + 8);
        const row = rows.get(group.id);
        const faded = row && row.hidden ? " faded" : own.has(group.id) ? "" : " pale";
        const node = svg("g", { class: `point${faded}${chosen === group.id ? " chosen" : ""}`, tabindex: 0,
          role: "button", "data-group": group.id, ...(isOff ? { "data-off": true } : {}),
          "aria-label": `${group.label} ${group.settings}, ${short(group.sizes[size])} ${content.sizes[size]}, `
            + `${split} error ${percent(mean)}${std === null ? "" : ` ± ${(std * 100).toFixed(2)}`}, ${n} seeds`
            + (front.has(group.id) ? ", on the Pareto front" : "") }, root);
        svg("circle", { class: "halo", cx, cy, r: 12 }, node);
        const stroke = colour(methods[group.method]);
        if (std && !isOff) {
          const [top, bottom] = [y(inside(mean + std)), y(inside(mean - std))];
          svg("path", { fill: "none", stroke, d: `M${cx},${top}V${bottom}M${cx - 3},${top}h6M${cx - 3},${bottom}h6` }, node);
        }
        svg("path", { class: "shape", d: GLYPHS[methods[group.method].marker](5), fill: stroke,
          transform: `translate(${cx} ${cy})` }, node);
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
      for (const [error, text, offsets] of named) {
        const places = offsets.flatMap((dy) => [1, 0.75, 0.5, 0.25].map((part) =>
          [box.left + part * (box.right - box.left), y(error) + dy, "end"]));
        place.put(text, "soft", places);
      }
      // Points of the front have the first choice of places, then those of a method's front.
      for (const group of [...ordered].sort((a, b) => own.has(b.id) - own.has(a.id) || front.has(b.id) - front.has(a.id))) {
        const { mean } = group.errors[split];
        const isOff = mean > high;
        const [cx, cy] = [x(group.sizes[size]), heightOf(mean)];
        const row = rows.get(group.id);
        if (row && row.hidden) continue;
        place.put(isOff ? `${group.label}: ${percent(mean)} ↑` : group.label, "name", [
          [cx + 11, cy + 4, "start"], [cx - 11, cy + 4, "end"], [cx, cy - 12, "middle"], [cx, cy + 22, "middle"],
          [cx + 9, cy + 16, "start"], [cx - 9, cy + 16, "end"], [cx + 9, cy - 9, "start"], [cx - 9, cy - 9, "end"],
        ]);
      }
      if (focused) plot.querySelector(`[data-group="${focused}"]`)?.focus();
    }

    const update = () => { headline(); draw(); };
    for (const control of [controls.split, controls.size, controls.points]) control.addEventListener("change", update);
    controls.log.addEventListener("change", draw);
    sortable(table);
    section.querySelectorAll("table.rates").forEach(sortable);
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
