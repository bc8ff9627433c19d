"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const paint = (meta) => Array.isArray(meta) ? meta.map(css) : css(meta || "soft");
  const color = (trace) => {
    if (trace.type === "waterfall") {
      const [more, less] = trace.meta === "good" ? ["bad", "good"] : ["good", "bad"];
      for (const [part, name] of [["increasing", more], ["decreasing", less], ["totals", "soft"]])
        trace[part] = { marker: { color: css(name) } };
      trace.connector = { line: { color: css("soft"), width: 1 } };
      return;
    }
    const found = paint(trace.meta);
    trace.marker = { ...trace.marker, color: found };
    if (!Array.isArray(found)) trace.line = { ...trace.line, color: found };
    for (const bar of ["error_x", "error_y"]) if (trace[bar]) trace[bar].color = found;
  };
  const draw = (holder, width) => {
    const figure = JSON.parse(document.getElementById(holder.id + "-data").textContent);
    figure.data.forEach(color);
    const axis = { gridcolor: css("line"), zerolinecolor: css("line"), automargin: true };
    const layout = {
      ...figure.layout, paper_bgcolor: css("card"), plot_bgcolor: css("card"), margin: { t: 16, r: 16, b: 48, l: 56 },
      font: { color: css("ink"), family: "system-ui, sans-serif", size: 12 }, width, autosize: !width,
      hoverlabel: { bgcolor: css("card"), font: { color: css("ink") } },
      xaxis: { ...figure.layout.xaxis, ...axis }, yaxis: { ...figure.layout.yaxis, ...axis },
    };
    Plotly.react(holder, figure.data, layout, { responsive: true, displayModeBar: false });
  };
  const all = (width) => document.querySelectorAll(".plot").forEach((holder) => draw(holder, width));
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all());

  // On paper nothing opens or scrolls: light colours, plots as wide as half a page, every table unfolded (plans are in report.json).
  const folded = new Set();
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    document.querySelectorAll("details:not([open]):not(:has(pre))").forEach((one) => { folded.add(one); one.open = true; });
    all(480);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    folded.forEach((one) => { one.open = false; });
    folded.clear();
    all();
  });
})();
