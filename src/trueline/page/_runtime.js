// Draws every chart of the page; scripts after this one find each chart's view by its id.
const pageCharts = (() => {
  "use strict";
  const plain = getComputedStyle(document.documentElement).getPropertyValue("--plain");
  const config = {
    aria: false,
    background: "transparent",
    font: plain,
    padding: { left: 0, top: 4, right: 8, bottom: 4 },
    autosize: { type: "fit-x", contains: "padding" },
    axis: {
      domainColor: "var(--ink-soft)",
      gridColor: "var(--rule)",
      labelColor: "var(--ink-soft)",
      labelFontSize: 11,
      tickColor: "var(--ink-soft)",
      titleColor: "var(--ink-soft)",
      titleFontSize: 11,
      titleFontWeight: 400,
    },
    axisY: { domain: false, ticks: false, labelPadding: 6 },
    view: { stroke: null },
  };
  // The expression interpreter lets the page forbid code made from text.
  const options = { actions: false, ast: true, config, renderer: "svg" };
  const draw = ([id, spec]) => {
    const place = document.getElementById(id);
    const drawn = vegaEmbed(place, spec, options).then((result) => result.view);
    drawn.catch((error) => {
      place.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    });
    return [id, drawn];
  };
  return Object.fromEntries(Object.entries(JSON.parse(document.getElementById("charts").textContent)).map(draw));
})();
