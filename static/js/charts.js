// Draws each [data-chart] from the figure its address answers, in the page's colours.
(function () {
  "use strict";

  var config = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function inPageColours(layout) {
    var text = getComputedStyle(document.body).color;
    var line = colour("--grid");
    var themed = Object.assign({}, layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      // A zoom stays when newer figures come.
      uirevision: "stays",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      hoverlabel: { bgcolor: colour("--hover"), bordercolor: line, font: { color: text } },
    });
    Object.keys(layout).forEach(function (key) {
      if (!/^[xy]axis/.test(key)) return;
      themed[key] = Object.assign({}, layout[key], { gridcolor: line, zerolinecolor: line, linecolor: line });
    });
    return themed;
  }

  function say(element, text) {
    window.Plotly.purge(element);
    var note = document.createElement("p");
    note.className = "empty-note";
    note.textContent = text;
    element.replaceChildren(note);
  }

  function draw(element) {
    var figure = element.fleetFigure;
    if (!figure) return;
    var empty = figure.data.every(function (trace) {
      return !(trace.x && trace.x.length) || (trace.z && !trace.z.length);
    });
    if (empty) return say(element, "Nothing was recorded in this range.");
    if (!element.classList.contains("js-plotly-plot")) element.replaceChildren();
    figure.data.forEach(function (trace) {
      if (trace.type === "heatmap") trace.textfont = { color: getComputedStyle(document.body).color };
    });
    window.Plotly.react(element, figure.data, inPageColours(figure.layout), config);
  }

  function load(element) {
    fetch(element.dataset.chart, { headers: { Accept: "application/json" }, redirect: "error" })
      .then(function (response) {
        if (!response.ok) throw new Error("status " + response.status);
        return response.text();
      })
      .then(function (text) {
        // Drawn anew only when it changed: whoever is reading it is not disturbed.
        if (element.fleetText === text) return;
        element.fleetText = text;
        element.fleetFigure = JSON.parse(text);
        draw(element);
      })
      .catch(function (error) {
        say(element, "The chart could not be loaded (" + error.message + "): load the page again.");
      });
  }

  function charts() {
    return document.querySelectorAll("[data-chart]");
  }

  document.addEventListener("fleet:theme", function () {
    charts().forEach(draw);
  });
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden) charts().forEach(load);
  });
  window.setInterval(function () {
    if (!document.hidden) charts().forEach(load);
  }, 60000);
  charts().forEach(load);
})();
