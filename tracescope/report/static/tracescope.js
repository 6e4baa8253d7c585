// What makes the pages quicker to use; everything works without it.
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=number], input[type=range]")) form.requestSubmit();
  });
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input, select")) if (!field.value) field.disabled = true;
  });
}
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-auto] :disabled")) field.disabled = false;
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.activeElement.matches("input, select, textarea")) return;
  const field = document.querySelector("input[name=q]");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});
for (const range of document.querySelectorAll("input[type=range][data-shows]")) {
  const output = document.getElementById(range.dataset.shows);
  range.addEventListener("input", () => { output.textContent = `${range.value}×`; });
}
if (document.querySelector("[data-await-spans]")) {
  const look = async () => {
    const found = await fetch("/api/state").then((answer) => answer.json()).catch(() => ({}));
    if (found.spans || found.unsealed_spans) location.reload();
    else setTimeout(look, 3000);
  };
  setTimeout(look, 3000);
}
// Charts: what a place means; and over one of time, a new period by dragging.
const reading = Object.assign(document.createElement("div"), { className: "reading", hidden: true });
document.body.append(reading);
const say = (words, event) => {
  reading.textContent = words;
  reading.hidden = false;
  reading.style.left = `${Math.max(Math.min(event.clientX + 12, innerWidth - reading.offsetWidth - 8), 4)}px`;
  reading.style.top = `${Math.max(event.clientY - 34, 4)}px`;
};
const hush = () => { reading.hidden = true; };
const placed = (chart, event) =>
  new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
const height = (chart, y) => {
  const [floor, above, top] = chart.dataset.value.split(",").map(Number);
  return (floor - y) / (floor - above) * top;
};
for (const chart of document.querySelectorAll("svg.chart[data-load]")) {
  const [x1, v1, x2, v2] = chart.dataset.load.split(",").map(Number);
  const dots = [...chart.querySelectorAll("circle")].map((dot) =>
    [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy")), dot.classList.contains("dot2")]);
  chart.addEventListener("pointermove", (event) => {
    const { x, y } = placed(chart, event);
    const far = (dot) => Math.hypot(dot[0] - x, dot[1] - y);
    const near = dots.reduce((best, dot) => (far(dot) < far(best) ? dot : best));
    const load = v1 + (near[0] - x1) / (x2 - x1) * (v2 - v1);
    const side = near[2] ? "before (base)" : "after (head)";
    say(`${load.toPrecision(3)} calls/s: ${height(chart, near[1]).toPrecision(3)} ${chart.dataset.unit}, ${side}`, event);
  });
  chart.addEventListener("pointerleave", hush);
}
// The words of a box of call paths, or of a span's bar, without the wait of a tooltip.
for (const picture of document.querySelectorAll("svg.icicle, svg.waterfall")) {
  for (const title of picture.querySelectorAll("g > title")) {
    title.parentNode.dataset.says = title.textContent;
    title.remove(); // else its tooltip comes as well, later; a link has the same words as its name
  }
  picture.addEventListener("pointermove", (event) => {
    const box = event.target.closest("g[data-says]");
    if (box) say(box.dataset.says, event);
    else hush();
  });
  picture.addEventListener("pointerleave", hush);
}
for (const chart of document.querySelectorAll("svg.chart[data-time]")) {
  const runs = chart.dataset.time.split(";").map((run) => run.split(",").map(Number));
  const [floor, above] = chart.dataset.value.split(",").map(Number);
  const points = [...chart.querySelectorAll("polyline.line, polyline.past")].flatMap((line) =>
    line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number)));
  const events = [...chart.querySelectorAll("g > line.event")].map((line) =>
    [Number(line.getAttribute("x1")), line.parentNode.querySelector("title").textContent]);
  const place = (event) => placed(chart, event).x;
  const instant = (x) => {
    const [x1, t1, x2, t2] = runs.find((run) => x <= run[2]) ?? runs.at(-1);
    return t1 + ((Math.min(Math.max(x, x1), x2) - x1) / (x2 - x1)) * (t2 - t1);
  };
  const mark = (name, x, width) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ class: name, x, y: above, width, height: floor - above })) made.setAttribute(key, value);
    chart.append(made);
    return made;
  };
  let from, picked;
  chart.addEventListener("pointermove", (event) => {
    const x = place(event);
    if (picked) { picked.setAttribute("x", Math.min(x, from)); picked.setAttribute("width", Math.abs(x - from)); }
    const near = points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best), [Infinity, 0]);
    if (!Number.isFinite(near[0])) return;
    const when = new Date(instant(near[0])).toISOString().slice(0, 16).replace("T", " ");
    const beside = events.filter((one) => Math.abs(one[0] - x) < 4).map((one) => `; ${one[1]}`).join("");
    say(`${when} UTC: ${height(chart, near[1]).toPrecision(3)} ${chart.dataset.unit}${beside}`, event);
  });
  chart.addEventListener("pointerleave", hush);
  if ("fixed" in chart.dataset) continue;
  chart.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    from = place(event);
    picked = mark("picked", from, 0);
    chart.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  chart.addEventListener("pointerup", (event) => {
    if (!picked) return;
    const ends = [instant(from), instant(place(event))].sort((a, b) => a - b);
    picked.remove();
    picked = undefined;
    if (ends[1] - ends[0] < (runs.at(-1)[3] - runs[0][1]) / 100) return;
    const iso = (ms) => new Date(ms).toISOString().slice(0, 19) + "Z";
    const query = new URLSearchParams(location.search);
    query.set("head", `${iso(ends[0])}/${iso(ends[1])}`);
    query.set("base", `${iso(2 * ends[0] - ends[1])}/${iso(ends[0])}`);
    location.search = query;
  });
}
// The map: closer with Ctrl and the wheel, moved by dragging; without a script it scrolls, and links zoom.
for (const frame of document.querySelectorAll("[data-zooms]")) {
  const svg = frame.querySelector("svg");
  let held;
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    const wide = Math.min(Math.max(box.width * (event.deltaY < 0 ? 1.15 : 1 / 1.15), frame.clientWidth / 2), 6000);
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    Object.assign(svg.style, { width: `${wide}px`, maxWidth: "none", minWidth: "0" });
    const now = svg.getBoundingClientRect();
    frame.scrollLeft += now.left + x * now.width - event.clientX;
    frame.scrollTop += now.top + y * now.height - event.clientY;
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch" || event.target.closest("a")) return;
    held = [event.clientX + frame.scrollLeft, event.clientY + frame.scrollTop];
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (held) [frame.scrollLeft, frame.scrollTop] = [held[0] - event.clientX, held[1] - event.clientY];
  });
  frame.addEventListener("pointerup", () => { held = undefined; });
}
