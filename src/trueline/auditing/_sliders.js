// Moves every chart and the words beneath the sliders to one temperature and one threshold.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("sweep").textContent);
  const { temperatures, thresholds, coverages, edges, models } = data;
  const find = (id) => document.getElementById(id);
  const sliders = { temperature: find("temperature"), threshold: find("threshold") };

  // Counts are sent as their drops from one threshold to the next.
  for (const model of models) {
    model.confusion = model.confusion.map((stop) => stop.map((text) => {
      const drops = text.split(",").map(Number);
      let count = drops[0];
      return thresholds.map((_, h) => (h ? (count -= drops[h] || 0) : count));
    }));
  }

  // Round as the rest of the page does: to the nearest, and a tie to the even digit.
  function fixed(value, digits) {
    const size = Math.abs(value);
    let text = size.toFixed(digits);
    const exact = size.toFixed(digits + 30);
    if (/^50*$/.test(exact.slice(-30)) && text.slice(-1) % 2) text = exact.slice(0, -30);
    return value < 0 && Number(text) > 0 ? `−${text}` : text;
  }
  const percent = (share) => `${fixed(100 * share, 1)}\u00a0%`;
  const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");

  function bins(model, t, h) {
    const threshold = thresholds[h];
    const rows = edges.slice(1).map((upper, b) => ({
      lower: edges[b],
      upper,
      answered: upper > threshold || upper === 1,
      count: model.count[t][b],
      confidence: model.confidence[t][b],
      accuracy: model.accuracy[t][b],
      interval_low: model.interval_low[t][b],
      interval_high: model.interval_high[t][b],
      null_low: model.null_low[t][b],
      null_high: model.null_high[t][b],
    }));
    return rows.filter((row) => row.count);
  }

  // A bar that holds the threshold is cut there.
  function bars(rows, threshold) {
    return rows.flatMap((row) => (row.lower < threshold && threshold < row.upper
      ? [{ ...row, upper: threshold, answered: false }, { ...row, lower: threshold }]
      : [row]));
  }

  function here(model, t, h) {
    const [answered, errors] = [model.answered[t][h], model.errors[t][h]];
    return { model: model.name, coverage: answered / model.answered[t][0], risk: answered ? errors / answered : null };
  }

  function cells(model, t, h) {
    return model.cells.map(([label, prediction], k) => {
      const count = model.confusion[t][k][h];
      const right = label === prediction;
      return {
        label,
        prediction,
        count,
        right,
        text: count ? String(count) : "",
        pair: `${label} taken for ${prediction}`,
      };
    });
  }

  const at = (t, h) => `at temperature ${temperatures[t]}${thresholds[h] ? `, answering above ${thresholds[h]}` : ""}`;

  // What each kind of chart shows: its data by name, and the same in words.
  const show = {
    reliability(model, t, h) {
      const rows = bins(model, t, h);
      const accuracy = 1 - model.errors[t][0] / model.answered[t][0];
      return {
        data: { bins: rows },
        words: `Reliability diagram of ${model.name} ${at(t, h)}: mean confidence ${percent(accuracy + model.gap[t])}, `
          + `accuracy ${percent(accuracy)}, ${rows.length} bins with samples, `
          + `${rows.filter((row) => row.answered).length} of them answered.`,
      };
    },
    confidences(model, t, h) {
      const rows = bars(bins(model, t, h), thresholds[h]);
      return {
        data: { bars: rows, threshold: thresholds[h] ? [{ at: thresholds[h] }] : [] },
        words: `Histogram of the confidences of ${model.name} ${at(t, h)}: `
          + `${percent(here(model, t, h).coverage)} of the samples are answered.`,
      };
    },
    confusion(model, t, h) {
      const rows = cells(model, t, h);
      const worst = rows.filter((row) => !row.right).reduce((a, b) => (b.count > a.count ? b : a), { count: 0 });
      return {
        data: { cells: rows },
        words: `Labels and predictions of ${model.name} ${at(t, h)}. ` + (worst.count
          ? `Most often: ${worst.label} taken for ${worst.prediction}, ${grouped(worst.count)} times.`
          : "None of those shown differ."),
      };
    },
    risk(_, t, h) {
      const marks = models.map((model) => here(model, t, h)).filter((row) => row.risk !== null);
      return {
        data: {
          risk: models.flatMap((model) => coverages.map((coverage, p) => (
            { model: model.name, coverage, risk: model.risk[t][p] }))),
          here: marks,
        },
        words: `Share of errors against the share of samples answered, ${at(t, h)}. ` + marks.map((row) => (
          `${row.model} answers ${percent(row.coverage)} with ${percent(row.risk)} errors`)).join("; ") + ".",
      };
    },
  };

  function sentence(model, t, h) {
    const { coverage, risk } = here(model, t, h);
    const noise = model.calibration_error[t] <= model.noise[t] ? "within" : "beyond";
    const answers = risk === null
      ? `answers none of ${grouped(model.samples)} samples.`
      : `answers ${h ? `${percent(coverage)} of` : "all"} ${grouped(model.samples)} samples and is right on ${percent(1 - risk)} of them.`;
    return `${answers} Over all samples its calibration error is ${fixed(100 * model.calibration_error[t], 1)} points, `
      + `${noise} noise, and its log loss ${fixed(model.log_loss[t], 3)} nats.`;
  }

  const charts = [...document.querySelectorAll("[data-shows]")];
  async function move(t, h) {
    await Promise.all(charts.map(async (place) => {
      const { data: named, words } = show[place.dataset.shows](models[place.dataset.model], t, h);
      place.setAttribute("aria-label", words);
      const view = await pageCharts[place.id];
      for (const [name, rows] of Object.entries(named)) view.data(name, rows);
      await view.runAsync();
    }));
  }

  // Only the latest stop is drawn: a dragged slider passes stops faster than charts follow.
  let moving = false;
  let wanted = null;
  async function draw() {
    if (moving) return;
    moving = true;
    while (wanted) {
      const stop = wanted;
      wanted = null;
      await move(...stop);
      document.documentElement.dataset.drawn = stop.join(" ");
    }
    moving = false;
  }

  function update() {
    const [t, h] = [Number(sliders.temperature.value), Number(sliders.threshold.value)];
    const answering = thresholds[h] ? `above ${thresholds[h]}` : "answer all";
    find("temperature-value").textContent = temperatures[t].split(",")[0];
    find("threshold-value").textContent = thresholds[h] ? String(thresholds[h]) : "all";
    sliders.temperature.setAttribute("aria-valuetext", temperatures[t]);
    sliders.threshold.setAttribute("aria-valuetext", answering);
    for (const slider of Object.values(sliders)) slider.style.setProperty("--at", slider.value / slider.max);
    for (const button of document.querySelectorAll("[data-stop]")) {
      button.setAttribute("aria-pressed", String(sliders[button.dataset.slider].value === button.dataset.stop));
    }
    document.querySelectorAll("[data-says]").forEach((place) => {
      place.textContent = sentence(models[place.dataset.says], t, h);
    });
    find("setting").textContent = `The charts are printed ${at(t, h)}${thresholds[h] ? "" : ", with every sample answered"}.`;
    wanted = [t, h];
    draw();
  }

  for (const slider of Object.values(sliders)) slider.addEventListener("input", update);
  for (const button of document.querySelectorAll("[data-stop]")) {
    button.addEventListener("click", () => {
      sliders[button.dataset.slider].value = button.dataset.stop;
      update();
    });
  }
  find("controls").hidden = false;
  update();
})();
