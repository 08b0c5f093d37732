// Draws what the model predicts over the plane of its two features, at the stop of the slider.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("plane").textContent);
  const { side, betas, levels, x, y, classes } = data;
  const find = (id) => document.getElementById(id);
  const [slider, canvas] = [find("beta"), find("canvas")];
  const bytes = Uint8Array.from(atob(data.cells), (sign) => sign.charCodeAt(0));
  const last = betas.length - 1;
  const cellsOf = (stop) => bytes.subarray(stop * side * side, (stop + 1) * side * side);
  const classOf = (byte) => Math.floor(byte / levels);
  const sureness = (byte) => (byte % levels) / (levels - 1);
  const colours = 7;

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const probe = document.body.appendChild(document.createElement("i"));
    const read = (name) => {
      probe.style.color = style.getPropertyValue(name);
      return getComputedStyle(probe).color.match(/\d+/g).slice(0, 3).map(Number);
    };
    const found = { classes: classes.map((_, k) => read(`--run-${k % colours}`)), ink: read("--ink"), paper: read("--paper") };
    probe.remove();
    return found;
  }
  const css = (colour) => `rgb(${colour.join(" ")})`;

  // The fill is stronger where the model is surer; a line runs where its class changes.
  function field(cells, hues) {
    const small = document.createElement("canvas");
    small.width = small.height = side;
    const picture = new ImageData(side, side);
    cells.forEach((byte, place) => {
      picture.data.set([...hues.classes[classOf(byte)], Math.round(255 * (0.06 + 0.44 * sureness(byte)))], 4 * place);
    });
    small.getContext("2d").putImageData(picture, 0, 0);
    return small;
  }

  // Where the class changes between two neighbouring cells, the line crosses nearer to the less sure one; within
  // each square of four centres the crossings are joined.
  function border(pen, cells, size, ink) {
    const step = size / side;
    const crossing = (from, to) => {
      const [first, second] = [cells[from], cells[to]];
      if (classOf(first) === classOf(second)) return [];
      const sum = sureness(first) + sureness(second);
      const share = sum ? sureness(first) / sum : 0.5;
      const [column, row] = [from % side, Math.floor(from / side)];
      const aside = to === from + 1;
      return [[(column + 0.5 + (aside ? share : 0)) * step, (row + 0.5 + (aside ? 0 : share)) * step]];
    };
    pen.beginPath();
    for (let row = 0; row + 1 < side; row += 1) {
      for (let column = 0; column + 1 < side; column += 1) {
        const place = row * side + column;
        const ends = [
          ...crossing(place, place + 1), ...crossing(place, place + side),
          ...crossing(place + 1, place + 1 + side), ...crossing(place + side, place + side + 1),
        ];
        const hub = ends.length === 2 ? ends[0] : [(column + 1) * step, (row + 1) * step];
        for (const end of ends.length === 2 ? ends.slice(1) : ends) {
          pen.moveTo(...hub);
          pen.lineTo(...end);
        }
      }
    }
    pen.strokeStyle = css(ink);
    pen.lineWidth = Math.max(1.5, step / 3);
    pen.lineCap = "round";
    pen.stroke();
  }

  // The same marks as in the legend, so that colour is not all that tells the classes apart.
  const marks = [
    (pen, r) => pen.arc(0, 0, r, 0, 2 * Math.PI),
    (pen, r) => pen.rect(-0.9 * r, -0.9 * r, 1.8 * r, 1.8 * r),
    (pen, r) => { pen.moveTo(0, -1.2 * r); pen.lineTo(1.1 * r, 0.8 * r); pen.lineTo(-1.1 * r, 0.8 * r); pen.closePath(); },
    (pen, r) => { pen.moveTo(0, -1.3 * r); pen.lineTo(1.3 * r, 0); pen.lineTo(0, 1.3 * r); pen.lineTo(-1.3 * r, 0); pen.closePath(); },
    (pen, r) => { pen.rect(-1.2 * r, -0.4 * r, 2.4 * r, 0.8 * r); pen.rect(-0.4 * r, -1.2 * r, 0.8 * r, 2.4 * r); },
  ];

  function points(pen, size, hues) {
    const radius = size / 190;
    data.points.forEach(([first, second], place) => {
      const label = data.labels[place];
      pen.save();
      pen.translate(size * (first - x[0]) / (x[1] - x[0]), size * (y[1] - second) / (y[1] - y[0]));
      pen.beginPath();
      marks[label % marks.length](pen, radius);
      pen.fillStyle = css(hues.classes[label]);
      pen.strokeStyle = css(hues.paper);
      pen.lineWidth = radius / 1.5;
      pen.stroke();
      pen.fill();
      pen.restore();
    });
  }

  function draw() {
    const hues = palette();
    const size = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    canvas.width = canvas.height = size;
    const pen = canvas.getContext("2d");
    const cells = cellsOf(Number(slider.value));
    pen.drawImage(field(cells, hues), 0, 0, size, size);
    border(pen, cells, size, hues.ink);
    points(pen, size, hues);
    document.documentElement.dataset.drawn = slider.value;
  }

  const name = (stop) => {
    const said = [];
    if (stop === data.chosen && stop !== last) said.push("chosen");
    if (betas[stop] === 1) said.push("the model as it was");
    return said.length ? `${betas[stop]}, ${said.join(", ")}` : String(betas[stop]);
  };

  function sentence(stop) {
    const [cells, sharp] = [cellsOf(stop), cellsOf(last)];
    const counts = classes.map(() => 0);
    let moved = 0;
    cells.forEach((byte, place) => {
      counts[classOf(byte)] += 1;
      moved += classOf(byte) !== classOf(sharp[place]);
    });
    const percent = (count) => `${(100 * count / cells.length).toFixed(1)}\u00a0%`;
    const shares = counts.map((count, k) => `${classes[k]} on ${percent(count)}`).join(", ");
    const change = stop === last ? "" : ` On ${percent(moved)} it answers otherwise than the model as it was.`;
    return `At β = ${name(stop)}, the model answers ${shares} of the square.${change}`;
  }

  function update() {
    const stop = Number(slider.value);
    find("beta-value").textContent = String(betas[stop]);
    slider.setAttribute("aria-valuetext", `β = ${name(stop)}`);
    find("plane-says").textContent = sentence(stop);
    canvas.setAttribute("aria-label", sentence(stop));
    for (const button of document.querySelectorAll("[data-stop]")) {
      button.setAttribute("aria-pressed", String(button.dataset.stop === slider.value));
    }
    draw();
  }

  slider.addEventListener("input", update);
  for (const button of document.querySelectorAll("[data-stop]")) {
    button.addEventListener("click", () => {
      slider.value = button.dataset.stop;
      update();
    });
  }
  find("plane-figure").hidden = false;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("print").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  update();
})();
